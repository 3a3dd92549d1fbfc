// Facts of the machine from /proc and /sys, facts of the placement from the router's status.
#include "perf/machine.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

// First line of a file without its end; "" when there is none.
static const char *line_of(const char *path, char *line, size_t room)
{
	FILE *file = fopen(path, "re");
	line[0] = '\0';
	if (!file)
		return line;
	if (!fgets(line, (int)room, file))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	fclose(file);
	return line;
}

// What follows `key` and its separator in the first line of a file that begins with it, unquoted.
static const char *value_of(const char *path, const char *key, char separator, char *value, size_t room)
{
	char line[1024];
	FILE *file = fopen(path, "re");
	size_t length = strlen(key);
	value[0] = '\0';
	while (file && fgets(line, sizeof(line), file)) {
		const char *at = line + length;
		if (strncmp(line, key, length) != 0 || at[strspn(at, " \t")] != separator)
			continue;
		at += strspn(at, " \t") + 1;
		at += strspn(at, " \t\"");
		snprintf(value, room, "%.*s", (int)strcspn(at, "\"\n"), at);
		break;
	}
	if (file)
		fclose(file);
	return value;
}

static int add(struct weir_result_facts *facts, const char *name, const char *value)
{
	return value[0] ? weir_result_fact_add(facts, name, "%s", value) : 0;
}

static int add_file(struct weir_result_facts *facts, const char *name, const char *path)
{
	char line[WEIR_RESULT_TEXT];
	return add(facts, name, line_of(path, line, sizeof(line)));
}

static int add_processor(struct weir_result_facts *facts)
{
	static const char CPUINFO[] = "/proc/cpuinfo";
	char value[WEIR_RESULT_TEXT];
	char flags[4096];
	char threads[64];
	int code = add(facts, "cpu", value_of(CPUINFO, "model name", ':', value, sizeof(value)));
	line_of("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", threads, sizeof(threads));
	code = code ? code : weir_result_fact_add(facts, "cores", "%ld online, %s", sysconf(_SC_NPROCESSORS_ONLN),
						  strpbrk(threads, ",-") ? "threads share cores" : "one thread each");
	char caches[WEIR_RESULT_TEXT] = "";
	for (int i = 0; i < 4; i++) {
		char path[128], size[32], level[8], type[32];
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
		line_of(path, size, sizeof(size));
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
		line_of(path, level, sizeof(level));
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
		line_of(path, type, sizeof(type));
		size_t used = strlen(caches);
		if (size[0])
			snprintf(caches + used, sizeof(caches) - used, "%sL%s%s %s", used ? ", " : "", level,
				 type[0] == 'I' ? "i" : type[0] == 'D' ? "d" : "", size);
	}
	code = code ? code : add(facts, "caches", caches);
	value_of(CPUINFO, "flags", ':', flags, sizeof(flags));
	return code ? code : add(facts, "machine", strstr(flags, " hypervisor") ? "virtual" : "bare metal");
}

static int add_memory(struct weir_result_facts *facts)
{
	static const char MEMINFO[] = "/proc/meminfo";
	char total[64], size[64], all[64];
	int code = add(facts, "memory", value_of(MEMINFO, "MemTotal", ':', total, sizeof(total)));
	value_of(MEMINFO, "Hugepagesize", ':', size, sizeof(size));
	value_of(MEMINFO, "HugePages_Total", ':', all, sizeof(all));
	if (code == 0 && size[0])
		code = weir_result_fact_add(facts, "hugepages", "%s of %s", all, size);
	code = code ? code : add_file(facts, "transparent hugepages", "/sys/kernel/mm/transparent_hugepage/enabled");
	return code ? code : add_file(facts, "numa nodes", "/sys/devices/system/node/online");
}

int weir_machine_facts(struct weir_result_facts *facts)
{
	char system[WEIR_RESULT_TEXT];
	struct utsname name;
	int code = add_processor(facts);
	code = code ? code : add_memory(facts);
	code = code ? code : add_file(facts, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
	code = code ? code : add_file(facts, "isolated cores", "/sys/devices/system/cpu/isolated");
	code = code ? code : add_file(facts, "clock source",
				      "/sys/devices/system/clocksource/clocksource0/current_clocksource");
	if (code == 0 && uname(&name) == 0)
		code = weir_result_fact_add(facts, "kernel", "%s %s", name.release, name.machine);
	code = code ? code : add(facts, "system", value_of("/etc/os-release", "PRETTY_NAME", '=', system, sizeof(system)));
	code = code ? code : add(facts, "weirperf", WEIR_PERF_VERSION);
	return code ? code : add(facts, "DPDK", WEIR_PERF_DPDK_VERSION);
}

static const char *text_in(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text ? text : "-";
}

static long number_in(const json_t *object, const char *name)
{
	return (long)json_integer_value(json_object_get(object, name));
}

static int add_worker(struct weir_result_facts *facts, const json_t *worker)
{
	char name[WEIR_RESULT_NAME];
	snprintf(name, sizeof(name), "worker %ld", number_in(worker, "worker"));
	return weir_result_fact_add(facts, name, "core %ld, node %ld, %ld shards, logs %ld KiB (L2 %ld KiB, L3 %ld KiB): %s",
				    number_in(worker, "core"), number_in(worker, "node"), number_in(worker, "shards"),
				    number_in(worker, "log_bytes") >> 10, number_in(worker, "l2_bytes") >> 10,
				    number_in(worker, "l3_bytes") >> 10, text_in(worker, "reason"));
}

static int add_port(struct weir_result_facts *facts, const json_t *port)
{
	char name[WEIR_RESULT_NAME];
	snprintf(name, sizeof(name), "port %s", text_in(port, "name"));
	return weir_result_fact_add(facts, name, "%s, interface %s, address %s, UDP port %ld, integrity %s, %zu queues",
				    text_in(port, "kind"), text_in(port, "interface"), text_in(port, "address"),
				    number_in(port, "udp_port"), text_in(port, "integrity"),
				    json_array_size(json_object_get(port, "queues")));
}

static int add_topic(struct weir_result_facts *facts, const json_t *topic)
{
	char name[WEIR_RESULT_NAME];
	snprintf(name, sizeof(name), "topic %s", text_in(topic, "topic"));
	return weir_result_fact_add(facts, name, "%ld shards of %ld KiB, policy %s, ack %s, %zu groups",
				    number_in(topic, "shards"), number_in(topic, "log_bytes") >> 10,
				    text_in(topic, "policy"), text_in(topic, "ack"),
				    json_array_size(json_object_get(topic, "groups")));
}

static int placement(struct weir_result_facts *facts, const json_t *status)
{
	const json_t *entry;
	size_t index;
	int code = weir_result_fact_add(facts, "router", "weir %s, instance %s, poll %s", text_in(status, "version"),
					text_in(status, "instance"), text_in(status, "poll"));
	json_array_foreach(json_object_get(status, "workers"), index, entry)
		code = code ? code : add_worker(facts, entry);
	json_array_foreach(json_object_get(status, "ports"), index, entry)
		code = code ? code : add_port(facts, entry);
	json_array_foreach(json_object_get(status, "topics"), index, entry)
		code = code ? code : add_topic(facts, entry);
	return code;
}

int weir_machine_placement(struct weir_result_facts *facts, const char *status_json)
{
	json_t *status = json_loads(status_json, 0, NULL);
	int code = json_is_array(json_object_get(status, "workers")) ? placement(facts, status) : -EINVAL;
	json_decref(status);
	return code;
}
