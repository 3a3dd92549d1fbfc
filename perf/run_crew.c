// The crew of a run: brings its clients to life as threads, as processes, or over a DPDK port on one polling thread, and sees
// that all of them end. The conductor's thread calls it; processes are forked before the first thread starts.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/run_parts.h"

#define CLOSE_MS 2000
#define STACK_BYTES (256u << 10)

void run_client_fail(struct run_client *client, const char *format, ...)
{
	va_list arguments;
	if (run_state_of(client->slot) == RUN_STATE_FAILED)
		return;
	va_start(arguments, format);
	vsnprintf(client->slot->error, sizeof(client->slot->error), format, arguments);
	va_end(arguments);
	run_state_set(client, RUN_STATE_FAILED);
}

static uint64_t step(struct run_client *client, uint64_t now_ns)
{
	return client->is_producer ? run_producer_step(client, now_ns) : run_consumer_step(client, now_ns);
}

static bool is_over(const struct run_client *client)
{
	return run_state_of(client->slot) >= RUN_STATE_DONE;
}

// Sleeps until the client's next turn; a producer may spin the last microseconds, for a timer comes late.
static void wait_for_turn(struct run_client *client, uint64_t now_ns, uint64_t due_ns)
{
	uint64_t spin_ns = client->is_producer ? client->run->options.spin_us * 1000ull : 0;
	uint64_t wake_ns = due_ns > spin_ns ? due_ns - spin_ns : 0;
	if (!client->is_open) {
		struct timespec until = { (time_t)(due_ns / RUN_SECOND_NS), (long)(due_ns % RUN_SECOND_NS) };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		return;
	}
	if (wake_ns > now_ns)
		weir_link_wait(&client->link, now_ns, wake_ns);
}

static void drive(struct run_client *client)
{
	// Timed waits end when they should, not 50 us later.
	prctl(PR_SET_TIMERSLACK, 1ul);
	pthread_setaffinity_np(pthread_self(), sizeof(client->run->cores), &client->run->cores);
	while (!is_over(client)) {
		uint64_t now_ns = run_now_ns();
		uint64_t due_ns = step(client, now_ns);
		if (due_ns > now_ns)
			wait_for_turn(client, now_ns, due_ns);
	}
	if (client->is_open)
		weir_link_close(&client->link, CLOSE_MS);
	client->is_open = false;
}

static void *thread_main(void *client)
{
	drive(client);
	return NULL;
}

// Over DPDK: one thread polls the device for all clients.
static void *polling_main(void *at)
{
	struct run_crew *crew = at;
	uint32_t over = 0;
	pthread_setaffinity_np(pthread_self(), sizeof(crew->run->cores), &crew->run->cores);
	while (over < crew->client_count) {
		uint64_t now_ns = run_now_ns();
		weir_link_device_receive(crew->run->device, now_ns);
		over = 0;
		for (uint32_t i = 0; i < crew->client_count; i++) {
			struct run_client *client = &crew->clients[i];
			if (is_over(client) || atomic_load(&client->slot->died))
				over++;
			else
				step(client, run_now_ns());
		}
	}
	for (uint32_t i = 0; i < crew->client_count; i++) {
		if (crew->clients[i].is_open)
			weir_link_close(&crew->clients[i].link, CLOSE_MS);
		crew->clients[i].is_open = false;
	}
	return NULL;
}

// ---- Gather ----

static int board_create(struct run_crew *crew)
{
	const struct weir_scenario *scenario = crew->scenario;
	uint32_t producers = 0;
	uint32_t consumers = 0;
	for (uint32_t i = 0; i < scenario->producers_count; i++)
		producers += scenario->producers[i].count;
	for (uint32_t i = 0; i < scenario->consumers_count; i++)
		consumers += scenario->consumers[i].count;
	size_t slot_size = sizeof(struct run_slot) + scenario->step_count * sizeof(struct run_step);
	slot_size = (slot_size + 127) & ~127ul;
	size_t size = sizeof(struct run_board) + (producers + consumers) * slot_size;
	struct run_board *board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		return -errno;
	board->producers = producers;
	board->consumers = consumers;
	board->slot_size = slot_size;
	board->size = size;
	crew->board = board;
	crew->client_count = producers + consumers;
	crew->clients = calloc(crew->client_count, sizeof(*crew->clients));
	return crew->clients ? 0 : -ENOMEM;
}

static int client_add(struct run_crew *crew, uint32_t *index, bool is_producer, uint32_t set, uint32_t member)
{
	struct run_client *client = &crew->clients[*index];
	*client = (struct run_client){ .run = crew->run, .board = crew->board, .slot = run_slot_of(crew->board, *index),
				       .scenario = crew->scenario, .index = *index, .set = set, .member = member,
				       .is_producer = is_producer };
	// Numbers of other runs are someone else's events.
	struct weir_random random = { .state = crew->run->options.seed ^ run_load(&crew->board->start_ns) };
	client->number = ((uint32_t)weir_random_next(&random) & 0x7fffff00u) + (is_producer ? *index : 0);
	++*index;
	return is_producer ? run_producer_init(client) : run_consumer_init(client);
}

int run_crew_gather(struct run_crew *crew, struct weir_run *run, const struct weir_scenario *scenario,
		    char error[WEIR_RESULT_ERROR])
{
	uint32_t index = 0;
	*crew = (struct run_crew){ .run = run, .scenario = scenario };
	int result = board_create(crew);
	if (result == 0)
		atomic_store(&crew->board->start_ns, run_now_ns());
	for (uint32_t i = 0; i < scenario->producers_count; i++) {
		for (uint32_t j = 0; j < scenario->producers[i].count && result == 0; j++)
			result = client_add(crew, &index, true, i, j);
	}
	for (uint32_t i = 0; i < scenario->consumers_count; i++) {
		for (uint32_t j = 0; j < scenario->consumers[i].count && result == 0; j++)
			result = client_add(crew, &index, false, i, j);
	}
	if (result == 0)
		return 0;
	snprintf(error, WEIR_RESULT_ERROR, "scenario %s: cannot set up its clients: %s. Fix: free memory, or lower counts of "
		 "producers, consumers and keys", scenario->name, strerror(-result));
	run_crew_disband(crew);
	return result;
}

// ---- Start ----

static bool is_process(const struct run_client *client)
{
	if (client->run->device)
		return false;
	return client->is_producer ? client->scenario->producers[client->set].is_process
				   : client->scenario->consumers[client->set].is_process;
}

static int process_start(struct run_client *client)
{
	pid_t parent = getpid();
	client->pid = fork();
	if (client->pid < 0)
		return -errno;
	if (client->pid == 0) {
		// The conductor decides when to end, and nobody outlives it.
		signal(SIGINT, SIG_IGN);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			drive(client);
		_exit(0);
	}
	client->is_started = true;
	return 0;
}

static int threads_start(struct run_crew *crew)
{
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	int result = 0;
	if (crew->run->device) {
		result = -pthread_create(&crew->polling, &attributes, polling_main, crew);
		crew->is_polling = result == 0;
	}
	for (uint32_t i = 0; i < crew->client_count && result == 0 && !crew->run->device; i++) {
		struct run_client *client = &crew->clients[i];
		if (is_process(client))
			continue;
		result = -pthread_create(&client->thread, &attributes, thread_main, client);
		client->is_started = result == 0;
	}
	pthread_attr_destroy(&attributes);
	return result;
}

int run_crew_start(struct run_crew *crew, char error[WEIR_RESULT_ERROR])
{
	int result = 0;
	for (uint32_t i = 0; i < crew->client_count && result == 0; i++) {
		if (is_process(&crew->clients[i]))
			result = process_start(&crew->clients[i]);
	}
	if (result == 0)
		result = threads_start(crew);
	if (result)
		snprintf(error, WEIR_RESULT_ERROR, "scenario %s: cannot start its clients: %s. Fix: lower their counts, or "
			 "raise the limit of processes (ulimit -u)", crew->scenario->name, strerror(-result));
	return result;
}

// ---- End ----

const struct run_client *run_crew_failed(struct run_crew *crew)
{
	for (uint32_t i = 0; i < crew->client_count; i++) {
		struct run_client *client = &crew->clients[i];
		if (client->pid > 0 && waitpid(client->pid, NULL, WNOHANG) == client->pid) {
			client->pid = 0;
			if (!is_over(client))
				run_client_fail(client, "its process ended by itself: it crashed or was killed");
		}
		if (run_state_of(crew->clients[i].slot) == RUN_STATE_FAILED)
			return &crew->clients[i];
	}
	return NULL;
}

void run_crew_kill(struct run_crew *crew, uint32_t set, uint32_t members)
{
	for (uint32_t i = 0; i < crew->client_count && members; i++) {
		struct run_client *client = &crew->clients[i];
		bool is_alive = client->pid > 0 || (crew->run->device && !atomic_load(&client->slot->died));
		if (client->is_producer || client->set != set || !is_alive)
			continue;
		atomic_store(&client->slot->died, 1);
		members--;
		if (crew->run->device)
			continue; // its thread is everybody's: it vanishes by never being polled again
		kill(client->pid, SIGKILL);
		waitpid(client->pid, NULL, 0);
		client->pid = 0;
	}
}

static void process_end(struct run_client *client)
{
	uint64_t until_ns = run_now_ns() + 5 * RUN_SECOND_NS;
	while (waitpid(client->pid, NULL, WNOHANG) == 0) {
		if (run_now_ns() > until_ns) {
			kill(client->pid, SIGKILL);
			waitpid(client->pid, NULL, 0);
			break;
		}
		usleep(2000);
	}
	client->pid = 0;
}

void run_crew_end(struct run_crew *crew)
{
	if (!crew->board)
		return;
	atomic_store_explicit(&crew->board->phase, RUN_PHASE_STOP, memory_order_release);
	for (uint32_t i = 0; i < crew->client_count && crew->clients; i++) {
		struct run_client *client = &crew->clients[i];
		if (client->pid > 0)
			process_end(client);
		else if (client->is_started && client->thread)
			pthread_join(client->thread, NULL);
		client->is_started = false;
	}
	if (crew->is_polling)
		pthread_join(crew->polling, NULL);
	crew->is_polling = false;
}

void run_crew_disband(struct run_crew *crew)
{
	run_crew_end(crew);
	for (uint32_t i = 0; i < crew->client_count && crew->clients; i++) {
		if (crew->clients[i].is_producer)
			run_producer_fini(&crew->clients[i]);
		else
			run_consumer_fini(&crew->clients[i]);
	}
	free(crew->clients);
	if (crew->board)
		munmap(crew->board, crew->board->size);
	*crew = (struct run_crew){ 0 };
}
