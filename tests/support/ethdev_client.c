// A weir client in a DPDK process of its own: publishes events over a DPDK device (perf/ethdev_transport.h) and consumes
// them back as a member of a group, keeping account of each. Ends when all its own came back, or on SIGTERM; may be killed
// at any moment, its account stays. Its output and account are what `weirload verdict` judges. One thread.
//
//   ethdev-client DEVARGS OWN-ADDRESS LOCAL-PORT ROUTER TOPIC GROUP STATE-FILE EVENTS
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "client/core.h"
#include "perf/account.h"
#include "perf/ethdev_transport.h"
#include "perf/payload.h"

#define VIEWS 512
#define KEYS 100u
#define PAYLOAD 64u
#define PUBLISH_BURST 64u
#define SHARDS_MAX 64
#define CLOSE_NS 3000000000ull
#define REST_US 20u // when nothing happened: the machine is shared

struct self {
	struct weir_ethdev_transport *transport;
	struct weir_core *core;
	struct weir_core_output output;
	struct weir_producer *producer;
	struct weir_consumer *consumer;
	struct weir_account account;
	struct weir_view views[VIEWS];
	struct weir_payload next;
	uint64_t events;
	uint64_t published;
	uint64_t own; // events of ours that came back
};

static volatile sig_atomic_t is_stopped;

static void stop(int number)
{
	is_stopped = 1;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "ethdev-client: %s: %s\n", what, why);
	return 1;
}

// ---- A round ----

// 0, or what ends the client.
static int publish_some(struct self *self)
{
	uint8_t bytes[PAYLOAD];
	struct weir_event event = { .type = 1, .payload = bytes, .payload_size = PAYLOAD };
	for (uint32_t i = 0; i < PUBLISH_BURST && self->published < self->events; i++) {
		self->next.send_ns = clock_ns(CLOCK_MONOTONIC);
		weir_payload_fill(bytes, PAYLOAD, &self->next);
		event.key = weir_payload_key(&self->next);
		int result = weir_core_publish(self->producer, &event);
		if (result)
			return result == -EAGAIN || result == -ENOTCONN ? 0 : result;
		self->published++;
		if (++self->next.key == KEYS) {
			self->next.key = 0;
			self->next.sequence++;
		}
	}
	if (self->published == self->events)
		weir_core_flush(self->producer);
	return 0;
}

static uint64_t incarnation_of(const struct self *self, const struct weir_view *view)
{
	struct weir_assignment assignments[SHARDS_MAX];
	int count = weir_consumer_assignments(self->consumer, assignments, SHARDS_MAX);
	for (int i = 0; i < count; i++)
		if (assignments[i].shard == view->shard && assignments[i].term == view->term)
			return assignments[i].incarnation;
	return 0;
}

static int take(struct self *self, const struct weir_view *view)
{
	struct weir_payload payload;
	if (!weir_payload_check(view->payload, view->payload_size, &payload) || weir_payload_key(&payload) != view->key) {
		self->account.header->damaged++;
		return 0;
	}
	struct weir_account_event event = {
		.incarnation = incarnation_of(self, view), .offset = view->offset, .sequence = payload.sequence,
		.shard = view->shard, .term = view->term, .producer = payload.producer, .key = payload.key,
		.is_marked = view->flags & WEIR_VIEW_REDELIVERED,
	};
	self->own += payload.producer == self->next.producer;
	return weir_account_add(&self->account, &event);
}

// Number of events handed out, or -errno.
static int consume_some(struct self *self, uint64_t now_ns)
{
	int count = weir_core_consume(self->consumer, self->views, VIEWS, now_ns);
	for (int i = 0; i < count; i++) {
		int error = take(self, &self->views[i]);
		if (error)
			return error;
	}
	return count;
}

static void drive(struct self *self, bool *has_news)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	weir_core_release(self->core);
	*has_news = weir_ethdev_transport_receive(self->transport, now) > 0;
	weir_core_poll(self->core, now, &self->output);
}

static bool is_done(const struct self *self)
{
	return is_stopped || (self->published == self->events && self->own >= self->events &&
			      weir_core_flush_state(self->producer) != -EAGAIN);
}

static int run(struct self *self)
{
	while (!is_done(self)) {
		bool has_news;
		uint64_t before = self->published;
		drive(self, &has_news);
		int error = publish_some(self);
		if (error)
			return fail("publish", strerror(-error));
		int count = consume_some(self, clock_ns(CLOCK_MONOTONIC));
		if (count < 0)
			return fail("account", strerror(-count));
		if (!has_news && count == 0 && self->published == before)
			usleep(REST_US);
	}
	weir_core_consume(self->consumer, self->views, 0, clock_ns(CLOCK_MONOTONIC)); // settles what was handed out last
	return 0;
}

// ---- Begin and end ----

static int close_core(struct self *self)
{
	uint64_t end = clock_ns(CLOCK_MONOTONIC) + CLOSE_NS;
	weir_core_close(self->core, clock_ns(CLOCK_MONOTONIC));
	while (!weir_core_is_closed(self->core)) {
		bool has_news;
		if (clock_ns(CLOCK_MONOTONIC) > end)
			return fail("close", "the router confirmed nothing for 3 s");
		drive(self, &has_news);
		if (!has_news)
			usleep(REST_US);
	}
	return 0;
}

static void report(const struct self *self, const char *topic, const struct weir_producer_counts *counts)
{
	struct weir_ethdev_transport_counts transport;
	weir_ethdev_transport_counts(self->transport, &transport);
	printf("{\"role\":\"producer\",\"topic\":\"%s\",\"number\":%u,\"published\":%lu,\"routed\":%lu,\"refused\":%lu,"
	       "\"unknown\":%lu,\"waiting\":%lu,\"own\":%lu,\"delivered\":%lu,\"sent\":%lu,\"received\":%lu}\n",
	       topic, self->next.producer, counts->published, counts->routed, counts->refused, counts->unknown, counts->waiting,
	       self->own, self->account.header->events, transport.sent, transport.received);
}

static int open_core(struct self *self, const char *topic, const char *group)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	struct weir_core_options options = {
		.realtime_offset_ns = (int64_t)(clock_ns(CLOCK_REALTIME) - now),
		.credit_bytes = weir_ethdev_transport_credit(self->transport),
	};
	if (getrandom(options.secret, sizeof(options.secret), 0) != sizeof(options.secret) ||
	    getrandom(&self->next.producer, sizeof(self->next.producer), 0) != sizeof(self->next.producer))
		return -EIO;
	int error = weir_core_create(&self->core, &options, now);
	if (error)
		return error;
	self->output = weir_ethdev_transport_attach(self->transport, 0, self->core);
	error = weir_core_producer_open(self->core, topic, NULL, &self->producer);
	return error ? error : weir_core_consumer_open(self->core, topic, group, NULL, &self->consumer);
}

int main(int argc, char **argv)
{
	static struct self self;
	char why[WEIR_ETHDEV_TRANSPORT_WHY];
	if (argc != 9)
		return fail("usage", "DEVARGS OWN-ADDRESS LOCAL-PORT ROUTER TOPIC GROUP STATE-FILE EVENTS");
	struct weir_ethdev_transport_options options = { .device = argv[1], .address = argv[2], .router = argv[4],
							 .local_port = (uint16_t)strtoul(argv[3], NULL, 10) };
	self.events = strtoull(argv[8], NULL, 10);
	signal(SIGTERM, stop);
	int error = weir_account_create(&self.account, argv[7], argv[5], argv[6]);
	if (error)
		return fail(argv[7], strerror(-error));
	error = weir_ethdev_transport_open(&self.transport, &options, why);
	if (error)
		return fail(argv[1], why);
	error = open_core(&self, argv[5], argv[6]);
	if (error)
		return fail(argv[5], strerror(-error));
	struct weir_producer_counts counts;
	int status = run(&self);
	weir_producer_counts(self.producer, &counts); // close frees it
	if (status == 0)
		status = close_core(&self);
	report(&self, argv[5], &counts);
	self.account.header->is_complete = 1;
	weir_core_destroy(self.core);
	weir_ethdev_transport_close(self.transport);
	weir_account_close(&self.account);
	return status;
}
