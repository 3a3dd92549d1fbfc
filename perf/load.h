// What weirload's three verbs share: options and how failures are said.
#ifndef WEIR_PERF_LOAD_H
#define WEIR_PERF_LOAD_H

#include <stdbool.h>
#include <stdint.h>

struct load_options {
	const char *router; // "udp://HOST:PORT"
	const char *topic;
	const char *group;
	const char *state;  // file of the consumer's account, NULL: none
	const char *name;   // of the client, NULL: anonymous
	double rate;        // events/s; 0: as fast as credit allows
	double seconds;     // 0: no limit
	uint64_t events;    // 0: no limit
	uint64_t exit_after;  // consumer: dies without a word after so many events; 0: never
	uint64_t pause_after; // consumer: hands out nothing for pause_ms after so many events
	uint32_t pause_ms;
	uint32_t payload;   // bytes
	uint32_t keys;
	uint32_t number;    // of the producer; 0: random
	uint32_t delay_us;  // consumer: sleeps so long for each event
	uint32_t linger_us;
	uint32_t frame_events;
	uint32_t frame_size;
	uint32_t timeout_s; // how long to wait for the topic at the beginning, for acknowledgements at the end
	int level;
	bool settle_by_hand;
	bool is_json;
	bool has_progress;
};

// Each prints its result on stdout and what is wrong on stderr, and returns the exit status.
int load_produce(const struct load_options *options);
int load_consume(const struct load_options *options);
int load_verdict(const struct load_options *options, char *const *files, int count);

// "weirload: " and the message to stderr; returns 1.
int load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
