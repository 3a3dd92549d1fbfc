// weirpeer: plays a router for one client and tells what of wire/PROTOCOL.md the client breaks. It is the project's own engine
// behind a link that loses, doubles, delays and reorders by a script, and restarts with other ids; a judge follows the
// client from outside (judge.h). This file is the command line and the loop.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/standard.h"
#include "lib/stop.h"
#include "lib/usage.h"
#include "tests/peer/judge.h"
#include "tests/peer/router.h"
#include "tests/peer/script.h"

#define STATUS_FAILED 1
#define STATUS_FOUND 4
#define CLIENTS 16u // addresses, each with a judge of its own
#define SCRIPT_MAX (64u << 10)
#define MS 1000000ull

static void help(FILE *out)
{
	fputs("weirpeer check [OPTIONS]   play a router for one client and name each rule of PROTOCOL.md that it breaks\n"
	      "\n"
	      "The client publishes to topic `in`, or joins group `all` of topic `out`, or does both.\n"
	      "  --as router          what to play (router)\n"
	      "  --address ADDRESS    IPv4 address to listen at (127.0.0.1)\n"
	      "  --port N             UDP port; 0: any, told on standard error (9347)\n"
	      "  --seconds N          length of the run (30)\n"
	      "  --script FILE        what befalls it: lines \"TIME WHAT [NUMBER]\", TIME as 3.5s or 20%, WHAT drop, twice,\n"
	      "                       reorder (percent), delay (ms), calm, restart; - is stdin. Default: some of each\n"
	      "  --shards N           of each topic, 1 to 16 (4)\n"
	      "  --log KIB            of each shard, a power of two, 64 to 65536; events are at most an eighth of it (1024)\n"
	      "  --rate N             events a second published to `out`, 0 to 100000 (500)\n"
	      "  --large BYTES        payload of every 100th of them, which comes in pieces; 0: none is large (0)\n"
	      "  --lease-ms N         lease of sessions (3000); ping_ms is a fifth of it\n"
	      "  --seed N             of everything random (1)\n"
	      "  --json               one JSON object on standard output\n"
	      "\n"
	      "Exit status: 0 nothing was broken, 1 it failed or no client came, 2 wrong command line, 4 rules were broken.\n"
	      "Example: weirpeer check --seconds 20 & python3 my_consumer.py 127.0.0.1:9347 out all\n",
	      out);
}

enum {
	OPTION_AS = 256,
	OPTION_ADDRESS,
	OPTION_PORT,
	OPTION_SECONDS,
	OPTION_SCRIPT,
	OPTION_SHARDS,
	OPTION_LOG,
	OPTION_RATE,
	OPTION_LARGE,
	OPTION_LEASE,
	OPTION_SEED,
	OPTION_JSON,
};

static const struct option OPTIONS[] = {
	{ "as", required_argument, NULL, OPTION_AS },
	{ "address", required_argument, NULL, OPTION_ADDRESS },
	{ "port", required_argument, NULL, OPTION_PORT },
	{ "seconds", required_argument, NULL, OPTION_SECONDS },
	{ "script", required_argument, NULL, OPTION_SCRIPT },
	{ "shards", required_argument, NULL, OPTION_SHARDS },
	{ "log", required_argument, NULL, OPTION_LOG },
	{ "rate", required_argument, NULL, OPTION_RATE },
	{ "large", required_argument, NULL, OPTION_LARGE },
	{ "lease-ms", required_argument, NULL, OPTION_LEASE },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ 0 },
};

// Those that are numbers, and what they may be.
static const struct {
	int option;
	uint64_t low, high;
	const char *what;
} NUMBERS[] = {
	{ OPTION_PORT, 0, 65535, "a port, 0 to 65535" },
	{ OPTION_SECONDS, 1, 86400, "seconds, 1 to 86400" },
	{ OPTION_SHARDS, 1, 16, "1 to 16" },
	{ OPTION_LOG, 64, 65536, "KiB, a power of two from 64 to 65536" },
	{ OPTION_RATE, 0, 100000, "events a second, 0 to 100000" },
	{ OPTION_LARGE, 0, 60000, "bytes, 0 to 60000" },
	{ OPTION_LEASE, 500, 60000, "milliseconds, 500 to 60000" },
	{ OPTION_SEED, 0, UINT64_MAX, "a number" },
};

struct run {
	uint64_t number[OPTION_JSON - OPTION_AS]; // of the options that are numbers
	struct in_addr address;
	const char *script_path;
	bool is_json;
	struct peer_script script;
	struct peer_findings findings;
	struct client {
		struct sockaddr_in address;
		struct judge judge;
	} clients[CLIENTS];
	uint32_t client_count; // addresses that were heard; what comes beyond is played with and not judged
	bool is_calm;
	struct peer_link *link;
	struct peer_router *router;
	uint64_t start_ns, now_ns;
};

#define NUMBER(run, option) ((run)->number[(option)-OPTION_AS])

// ---- Between link, judge and router ----

// NULL: all judges are busy with others.
static struct judge *judge_of(struct run *run, const struct sockaddr_in *address)
{
	for (uint32_t i = 0; i < run->client_count; i++) {
		struct client *client = &run->clients[i];
		if (client->address.sin_port == address->sin_port &&
		    client->address.sin_addr.s_addr == address->sin_addr.s_addr)
			return &client->judge;
	}
	if (run->client_count == CLIENTS)
		return NULL;
	struct client *client = &run->clients[run->client_count];
	client->address = *address;
	if (judge_init(&client->judge, &run->findings, run->start_ns, run->now_ns))
		return NULL;
	judge_calm(&client->judge, run->is_calm, run->now_ns);
	run->client_count++;
	return &client->judge;
}

static void seen(void *context, const struct peer_datagram *datagram, uint64_t now_ns)
{
	struct run *run = context;
	struct judge *judge = judge_of(run, &datagram->peer);
	if (judge)
		judge_in(judge, datagram->data, datagram->size, now_ns);
}

static void arrived(void *context, const struct peer_datagram *datagram, uint64_t now_ns)
{
	struct run *run = context;
	struct judge *judge = judge_of(run, &datagram->peer);
	if (datagram->is_in)
		peer_router_receive(run->router, &datagram->peer, datagram->data, datagram->size, now_ns);
	else if (judge)
		judge_out(judge, datagram->data, datagram->size, now_ns);
}

static void frame_send(void *context, const struct sockaddr_in *peer, const void *frame, uint32_t size)
{
	struct run *run = context;
	peer_link_send(run->link, peer, frame, size, run->now_ns);
}

// ---- The run ----

static int step_do(struct run *run, const struct peer_script_step *step)
{
	const struct peer_weather *weather = &step->weather;
	for (uint32_t i = 0; step->is_restart && i < run->client_count; i++)
		judge_restart(&run->clients[i].judge, run->now_ns);
	if (step->is_restart)
		return peer_router_restart(run->router, run->now_ns);
	peer_link_weather(run->link, weather);
	run->is_calm = !(weather->drop | weather->twice | weather->reorder | weather->delay_ms);
	for (uint32_t i = 0; i < run->client_count; i++)
		judge_calm(&run->clients[i].judge, run->is_calm, run->now_ns);
	return 0;
}

static int loop(struct run *run)
{
	uint64_t end_ns = run->start_ns + NUMBER(run, OPTION_SECONDS) * 1000 * MS;
	uint32_t step = 0;
	while (run->now_ns < end_ns && !lib_stop_signal()) {
		while (step < run->script.count && run->now_ns >= run->start_ns + run->script.steps[step].at_ns) {
			int error = step_do(run, &run->script.steps[step++]);
			if (error)
				return error;
		}
		uint64_t due_ns = peer_link_run(run->link, run->now_ns);
		uint64_t router_ns = peer_router_run(run->router, run->now_ns);
		for (uint32_t i = 0; i < run->client_count; i++)
			judge_tick(&run->clients[i].judge, run->now_ns);
		due_ns = router_ns < due_ns ? router_ns : due_ns;
		uint64_t wait_ns = due_ns > run->now_ns ? due_ns - run->now_ns : 0;
		wait_ns = wait_ns < 10 * MS ? wait_ns : 10 * MS;
		struct pollfd poll_fd = { .fd = peer_link_descriptor(run->link), .events = POLLIN };
		ppoll(&poll_fd, 1, &(struct timespec){ .tv_nsec = (long)wait_ns }, NULL);
		run->now_ns = lib_clock_ns();
	}
	return 0;
}

static int report(const struct run *run)
{
	struct peer_router_counts counts;
	uint64_t frames = 0, sessions = 0;
	peer_router_counts(run->router, &counts);
	for (uint32_t i = 0; i < run->client_count; i++) {
		frames += run->clients[i].judge.frames;
		sessions += run->clients[i].judge.sessions;
	}
	if (run->is_json) {
		printf("{\"broken\":%llu,\"frames\":%llu,\"sessions\":%llu,\"published\":%llu,\"delivered\":%llu,"
		       "\"taken\":%llu,\"restarts\":%llu,\"rules\":[", (unsigned long long)run->findings.total,
		       (unsigned long long)frames, (unsigned long long)sessions,
		       (unsigned long long)counts.published, (unsigned long long)counts.delivered,
		       (unsigned long long)counts.taken, (unsigned long long)counts.restarts);
		peer_findings_json(&run->findings, stdout);
		puts("]}");
	} else {
		peer_findings_print(&run->findings, stdout);
		printf("%llu frames of the client in %llu sessions; %llu events came from it, %llu of %llu were settled by it; "
		       "rules broken %llu times\n", (unsigned long long)frames,
		       (unsigned long long)sessions, (unsigned long long)counts.taken,
		       (unsigned long long)counts.delivered, (unsigned long long)counts.published,
		       (unsigned long long)run->findings.total);
	}
	if (run->findings.total)
		return STATUS_FOUND;
	if (sessions)
		return 0;
	fprintf(stderr, "weirpeer: no client came: let it talk to port %u while weirpeer runs\n", peer_link_port(run->link));
	return STATUS_FAILED;
}

static int fail(const char *what, const char *reason, const char *fix)
{
	fprintf(stderr, "weirpeer: %s: %s. Fix: %s\n", what, reason, fix);
	return STATUS_FAILED;
}

static int check(struct run *run)
{
	const struct peer_link_calls calls = { .seen = seen, .arrived = arrived, .context = run };
	uint64_t lease_ms = NUMBER(run, OPTION_LEASE);
	const struct peer_router_config config = {
		.shards = (uint32_t)NUMBER(run, OPTION_SHARDS),
		.log_bytes = (uint32_t)NUMBER(run, OPTION_LOG) << 10,
		.rate = (uint32_t)NUMBER(run, OPTION_RATE),
		.large_bytes = (uint32_t)NUMBER(run, OPTION_LARGE),
		.lease_ms = (uint32_t)lease_ms,
		.ping_ms = (uint32_t)lease_ms / 5,
		.seed = NUMBER(run, OPTION_SEED),
		.send = frame_send,
		.context = run,
	};
	run->start_ns = run->now_ns = lib_clock_ns();
	run->is_calm = true;
	int error = peer_link_open(&run->link, &run->address, (uint16_t)NUMBER(run, OPTION_PORT), NUMBER(run, OPTION_SEED),
				   &calls);
	if (error)
		return fail("UDP port", strerror(-error), "choose another --port or --address");
	error = peer_router_create(&run->router, &config, run->now_ns);
	if (error)
		return fail("router", strerror(-error), "free some memory");
	fprintf(stderr, "weirpeer: ready at port %u\n", peer_link_port(run->link));
	error = loop(run);
	int status = error ? fail("router", strerror(-error), "free some memory") : report(run);
	peer_router_destroy(run->router);
	peer_link_close(run->link);
	for (uint32_t i = 0; i < run->client_count; i++)
		judge_fini(&run->clients[i].judge);
	return status;
}

// ---- The command line ----

static int option_take(const struct lib_program *program, struct run *run, int value, const struct option *option)
{
	char name[64];
	snprintf(name, sizeof(name), "--%s", option->name);
	if (value == OPTION_JSON)
		run->is_json = true;
	else if (value == OPTION_SCRIPT)
		run->script_path = optarg;
	else if (value == OPTION_AS)
		return !strcmp(optarg, "router") ? 0 :
		       lib_usage_wrong(program, optarg, "weirpeer plays a router only", "--as router");
	else if (value == OPTION_ADDRESS)
		return inet_pton(AF_INET, optarg, &run->address) == 1 ? 0 :
		       lib_usage_wrong(program, optarg, "is no IPv4 address", "--address 127.0.0.1");
	for (size_t i = 0; i < sizeof(NUMBERS) / sizeof(NUMBERS[0]); i++) {
		if (NUMBERS[i].option == value &&
		    !lib_usage_number(optarg, NUMBERS[i].low, NUMBERS[i].high, &NUMBER(run, value)))
			return lib_usage_wrong(program, name, "is out of its range", NUMBERS[i].what);
	}
	return 0;
}

static int script_read(struct run *run)
{
	static char text[SCRIPT_MAX];
	const char *why = NULL, *path = run->script_path;
	char what[64];
	if (path) {
		FILE *file = strcmp(path, "-") ? fopen(path, "r") : stdin;
		size_t size = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
		if (!file || ferror(file))
			return fail(path, strerror(errno), "name a script that can be read");
		text[size] = '\0';
		if (file != stdin)
			fclose(file);
	}
	uint32_t line = peer_script_parse(&run->script, path ? text : PEER_SCRIPT_USUAL,
					  NUMBER(run, OPTION_SECONDS) * 1000 * MS, &why);
	if (!line)
		return 0;
	snprintf(what, sizeof(what), "line %u %s", line, why);
	return fail(path, what, "see weirpeer --help");
}

int main(int argc, char **argv)
{
	static struct run run;
	struct lib_program program = { .name = "weirpeer", .version = WEIR_VERSION_TEXT, .help = help, .options = OPTIONS,
				       .has_commands = true };
	static const char *const COMMANDS[] = { "check", NULL };
	const struct option *option = NULL;
	int value;
	lib_standard_open();
	lib_stop_catch();
	run.address.s_addr = htonl(INADDR_LOOPBACK);
	NUMBER(&run, OPTION_PORT) = 9347;
	NUMBER(&run, OPTION_SECONDS) = 30;
	NUMBER(&run, OPTION_SHARDS) = 4;
	NUMBER(&run, OPTION_LOG) = 1024;
	NUMBER(&run, OPTION_RATE) = 500;
	NUMBER(&run, OPTION_LEASE) = 3000;
	NUMBER(&run, OPTION_SEED) = 1;
	lib_usage_begin(&program, argc, argv);
	while ((value = lib_usage_next(&program, argc, argv, &option)) >= 0) {
		int status = option_take(&program, &run, value, option);
		if (status)
			return lib_output_end("weirpeer", status, STATUS_FAILED);
	}
	if (value != LIB_OPTIONS_END)
		return lib_output_end("weirpeer", value == LIB_OPTIONS_DONE ? 0 : LIB_STATUS_USAGE, STATUS_FAILED);
	if (optind == argc)
		return lib_output_end("weirpeer", lib_usage_wrong(&program, "weirpeer", "no command", "weirpeer check"), 1);
	if (strcmp(argv[optind], "check"))
		return lib_output_end("weirpeer", lib_usage_unknown(&program, argv[optind], "command", COMMANDS),
				      STATUS_FAILED);
	uint64_t log_kib = NUMBER(&run, OPTION_LOG), large = NUMBER(&run, OPTION_LARGE);
	int status = script_read(&run);
	if (log_kib & (log_kib - 1))
		status = lib_usage_wrong(&program, "--log", "is no power of two", "--log 1024");
	else if (large && large + 64 > log_kib * 128)
		status = lib_usage_wrong(&program, "--large", "is more than an eighth of a log holds", "a larger --log");
	return lib_output_end("weirpeer", status ? status : check(&run), STATUS_FAILED);
}
