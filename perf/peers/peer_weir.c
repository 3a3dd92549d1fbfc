// Weir itself, through libweir as any program would use it: one client that produces, one more for each group. The address
// chooses the transport. No batching here beyond what the library does on its own; at a rate its linger is as short as
// it can be.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/weir.h"
#include "perf/peers/job.h"

#define VIEWS 512
#define TIMEOUT_MS 5000

struct peer {
	struct job *job;
	struct weir *client;
	struct weir_producer *producer;
	struct weir *group_clients[JOB_GROUPS_MAX];
	struct weir_consumer *consumers[JOB_GROUPS_MAX];
	struct weir_view views[VIEWS];
};

static struct weir *client_open(const struct job *job)
{
	struct weir_options options = { .frame_size = job->frame_size };
	struct weir *client = NULL;
	int error = weir_open(&client, job->address, &options);
	if (error)
		job_fail("weir at %s: %s", job->address, strerror(-error));
	return client;
}

static void group_open(struct peer *peer, uint32_t group)
{
	char name[16];
	snprintf(name, sizeof(name), "g%u", group);
	struct weir *client = client_open(peer->job);
	int error = weir_consumer_open(&peer->consumers[group], client, "positions", name, NULL);
	if (error == 0)
		error = weir_consumer_wait(peer->consumers[group], TIMEOUT_MS);
	if (error)
		job_fail("weir at %s: join group %s of positions: %s", peer->job->address, name, strerror(-error));
	peer->group_clients[group] = client;
	struct weir_consumer_counts counts = { 0 };
	uint64_t end_ns = job_now_ns() + TIMEOUT_MS * 1000000ull;
	while (counts.shards < JOB_SHARDS && job_now_ns() < end_ns) {
		weir_poll(client, 10);
		weir_consumer_counts(peer->consumers[group], &counts);
	}
	if (counts.shards < JOB_SHARDS)
		job_fail("weir at %s: group %s got %u of %u shards", peer->job->address, name, counts.shards, JOB_SHARDS);
}

static struct peer *weir_peer_open(struct job *job)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	if (!peer || job->guarantee == JOB_DURABLE)
		job_fail("weir: %s", peer ? "has no durable level in this version" : "no memory");
	peer->job = job;
	for (uint32_t group = 0; group < job->groups; group++)
		group_open(peer, group);
	peer->client = client_open(job);
	struct weir_producer_options options = {
		.level = job->guarantee == JOB_AT_MOST_ONCE ? WEIR_LEVEL_NONE : WEIR_LEVEL_ROUTED,
		.linger_us = job->rate > 0 ? 1 : 0,
	};
	int error = weir_producer_open(&peer->producer, peer->client, "positions", &options);
	if (error == 0)
		error = weir_producer_wait(peer->producer, TIMEOUT_MS);
	if (error)
		job_fail("weir at %s: publish to positions: %s", job->address, strerror(-error));
	return peer;
}

static bool weir_peer_publish(struct peer *peer, uint32_t shard, const void *payload)
{
	const struct job_head *head = payload;
	struct weir_event event = { .key = head->key, .type = 1, .payload = payload,
				    .payload_size = peer->job->payload_size };
	int error = weir_publish(peer->producer, &event);
	if (error && error != -EAGAIN)
		job_fail("weir: publish: %s", strerror(-error));
	return error == 0;
}

static void weir_peer_flush(struct peer *peer, bool is_urgent)
{
	int error = weir_poll(peer->client, 0);
	if (error < 0)
		job_fail("weir: poll: %s", strerror(-error));
}

static bool weir_peer_receive(struct peer *peer)
{
	bool has_some = false;
	for (uint32_t group = 0; group < peer->job->groups; group++) {
		int count = weir_poll(peer->group_clients[group], 0);
		if (count < 0)
			job_fail("weir: receive: %s", strerror(-count));
		uint64_t now_ns = job_arrival_ns(peer->job);
		while ((count = weir_consume(peer->consumers[group], peer->views, VIEWS)) > 0) {
			for (int i = 0; i < count; i++) {
				const struct weir_view *view = &peer->views[i];
				job_take_of(peer->job, &peer->job->inlets[group][view->shard % JOB_SHARDS], view->payload,
					    view->payload_size, now_ns);
			}
			has_some = true;
		}
	}
	return has_some;
}

static uint64_t weir_peer_confirmed(struct peer *peer)
{
	struct weir_producer_counts counts;
	weir_producer_counts(peer->producer, &counts);
	if (counts.refused || counts.unknown)
		job_fail("weir: %lu events refused (%s), %lu in doubt", counts.refused,
			 counts.last_refusal ? weir_refusal_name(counts.last_refusal) : "-", counts.unknown);
	return counts.routed;
}

static void weir_peer_close(struct peer *peer)
{
	weir_close(peer->client, 1000);
	for (uint32_t group = 0; group < peer->job->groups; group++)
		weir_close(peer->group_clients[group], 1000);
	free(peer);
}

const struct peer_ops peer_weir = {
	.name = "weir",
	.open = weir_peer_open,
	.publish = weir_peer_publish,
	.flush = weir_peer_flush,
	.receive = weir_peer_receive,
	.confirmed = weir_peer_confirmed,
	.close = weir_peer_close,
};
