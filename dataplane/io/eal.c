// Starts and ends DPDK's environment: no files shared with other processes, no PCI scan that nobody asked for, its words
// kept for the fault text. Control thread; enter and leave: workers.
#include "dataplane/io/eal.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cpuflags.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>

#define HUGEPAGES_DIRECTORY "/sys/kernel/mm/hugepages"
#define MEMORY_DEFAULT_MB 256u
#define ARGUMENTS_MAX 16
#define FIX_HUGEPAGES "reserve some (echo 160 > /proc/sys/vm/nr_hugepages), or set hugepages: prefer or off"

static uint64_t read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long number = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%llu", &number) != 1)
		number = 0;
	fclose(file);
	return number;
}

// Bytes of free hugepages of all sizes.
static uint64_t free_hugepages(void)
{
	DIR *directory = opendir(HUGEPAGES_DIRECTORY);
	const struct dirent *entry;
	uint64_t bytes = 0;

	if (!directory)
		return 0;
	while ((entry = readdir(directory))) {
		unsigned long long kilobytes;
		char path[sizeof(HUGEPAGES_DIRECTORY) + sizeof(entry->d_name) + 32];

		if (sscanf(entry->d_name, "hugepages-%llukB", &kilobytes) != 1)
			continue;
		snprintf(path, sizeof(path), HUGEPAGES_DIRECTORY "/%s/free_hugepages", entry->d_name);
		bytes += read_number(path) * kilobytes * 1024;
	}
	closedir(directory);
	return bytes;
}

static int choose_memory(const struct weir_eal_config *config, uint32_t memory_mb, bool *has_hugepages,
			 struct weir_fault *fault)
{
	uint64_t free_mb = free_hugepages() >> 20;

	*has_hugepages = config->memory != WEIR_EAL_ORDINARY && free_mb >= memory_mb;
	if (config->memory != WEIR_EAL_HUGEPAGES || *has_hugepages)
		return 0;
	return weir_fault_set(fault, -ENOMEM, "DPDK", "take hugepages", FIX_HUGEPAGES, "%u MB are needed, %llu MB are free",
			      memory_mb, (unsigned long long)free_mb);
}

// Cores for DPDK's main thread and all that it starts: those that this process may use and no worker polls on. A thread of
// its own that shares a worker's core can wait long for its turn while the worker waits for its lock (vhost).
static void quiet_cores(const cpu_set_t *allowed, const cpu_set_t *polled, cpu_set_t *quiet)
{
	cpu_set_t both;

	CPU_AND(&both, allowed, polled);
	CPU_XOR(quiet, allowed, &both);
	if (CPU_COUNT(quiet) == 0)
		*quiet = *allowed;
}

// "--lcores=0@(1,2,5)": the main thread may use all of them. Those that do not fit in are left out.
static void write_cores(char *text, size_t size, const cpu_set_t *cores)
{
	size_t length = (size_t)snprintf(text, size, "--lcores=0@(");
	const char *separator = "";

	for (int i = 0; i < CPU_SETSIZE && length + 8 < size; i++)
		if (CPU_ISSET((size_t)i, cores)) {
			length += (size_t)snprintf(text + length, size - length, "%s%d", separator, i);
			separator = ",";
		}
	snprintf(text + length, size - length, ")");
}

// What DPDK wrote while it started: its last line says why it failed.
static const char *last_line(char *text)
{
	size_t length = strlen(text);
	char *line;

	while (length > 0 && text[length - 1] == '\n')
		text[--length] = 0;
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

// rte_eal_init() wants pointers to char, and leaves the words alone.
static char *word(const char *text)
{
	return (char *)(uintptr_t)text;
}

static int init(const struct weir_eal_config *config, uint32_t memory_mb, bool has_hugepages, const cpu_set_t *cores,
		struct weir_fault *fault)
{
	char lcores[512], prefix[96], memory[16];
	char *arguments[ARGUMENTS_MAX] = { NULL };
	int count = 0;
	char *said = NULL;
	size_t said_size;
	FILE *stream = open_memstream(&said, &said_size);
	int error = 0;

	if (!stream)
		return weir_fault_set(fault, -ENOMEM, "DPDK", "start it", "free some memory", "out of memory");
	write_cores(lcores, sizeof(lcores), cores);
	snprintf(prefix, sizeof(prefix), "--file-prefix=weir-%s", config->instance);
	snprintf(memory, sizeof(memory), "%u", memory_mb);
	arguments[count++] = word("weir");
	arguments[count++] = lcores;
	arguments[count++] = prefix;
	arguments[count++] = word("--no-telemetry");
	arguments[count++] = word("--log-level=*:error");
	arguments[count++] = word("--iova-mode=va");
	if (!config->needs_pci)
		arguments[count++] = word("--no-pci");
	if (has_hugepages) {
		arguments[count++] = word("--in-memory");
	} else {
		arguments[count++] = word("--no-huge");
		arguments[count++] = word("--no-shconf");
		arguments[count++] = word("-m");
		arguments[count++] = memory;
	}
	rte_openlog_stream(stream);
	if (rte_eal_init(count, arguments) < 0 && rte_errno != EALREADY)
		error = rte_errno > 0 ? -rte_errno : -EIO;
	rte_openlog_stream(config->log ? config->log : stderr);
	fclose(stream);
	if (error)
		weir_fault_set(fault, error, "DPDK", "start its environment",
			       "use a kernel port, or do what DPDK asks for", "%s (%s)", strerror(-error), last_line(said));
	free(said);
	return error;
}

int weir_eal_start(const struct weir_eal_config *config, struct weir_fault *fault)
{
	uint32_t memory_mb = config->memory_mb ? config->memory_mb : MEMORY_DEFAULT_MB;
	bool has_hugepages;
	cpu_set_t allowed, quiet;
	int error;

	if (!rte_cpu_is_supported())
		return weir_fault_set(fault, -ENOTSUP, "DPDK", "start it", "use a kernel port",
				      "this CPU lacks instructions DPDK was built for");
	error = choose_memory(config, memory_mb, &has_hugepages, fault);
	if (error)
		return error;
	// EAL binds the calling thread to its main lcore; control goes wherever it likes. Threads that it starts later may use
	// what the caller could use now and no lcore has, or else the main lcore's cores: the same, so that nothing is left.
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return weir_fault_set(fault, -errno, "DPDK", "ask which cores it may use", "use a kernel port", "%s",
				      strerror(errno));
	quiet_cores(&allowed, &config->polled, &quiet);
	sched_setaffinity(0, sizeof(quiet), &quiet);
	error = init(config, memory_mb, has_hugepages, &quiet, fault);
	sched_setaffinity(0, sizeof(allowed), &allowed);
	return error;
}

int weir_eal_enter(void)
{
	return rte_thread_register() < 0 ? -rte_errno : 0;
}

void weir_eal_leave(void)
{
	rte_thread_unregister();
}

void weir_eal_stop(void)
{
	rte_eal_cleanup();
	rte_openlog_stream(stderr);
}
