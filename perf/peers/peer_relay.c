// The relays of relay.c and gro_relay.c as peers: frames as weir's producers pack them, sealed and checked the same way,
// sent with UDP_SEGMENT and received with UDP_GRO, a socket for each group and shard. Nothing is acknowledged; what is
// lost is lost. At a rate a frame leaves with what is due. Destinations are ports from BASE_PORT on.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "perf/peers/job.h"
#include "wire/codec.h"

#define BASE_PORT_AFTER 1u // the consumers' ports begin so far behind the relay's
#define SEND_BYTES 60000u  // frames of one message
#define SEGMENTS_MAX 40u
#define BATCH 8u
#define ROOM 65536u

// Frames on their way to one shard, all but the last full.
struct lane_out {
	uint8_t *bytes;
	uint32_t frames; // complete
	uint32_t events; // in the frame behind them
	uint64_t next;   // sequence of that frame's first event
};

struct peer {
	struct job *job;
	struct sockaddr_in relay;
	int fd;
	uint32_t event_size;
	uint32_t frame_events; // of a full frame
	uint32_t frame_bytes;
	uint32_t frames_max;   // in one message
	struct lane_out out[JOB_SHARDS];
	int inlets[JOB_GROUPS_MAX][JOB_SHARDS];
	uint8_t in[BATCH][ROOM];
};

static int socket_open(uint16_t port)
{
	int size = 16 << 20;
	int on = 1;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		job_fail("relay: UDP port %u: %s", port, strerror(errno));
	return fd;
}

static struct peer *relay_open(struct job *job)
{
	char host[64];
	uint16_t port;
	struct peer *peer = calloc(1, sizeof(*peer));
	job_address(job, host, &port);
	if (!peer || job->guarantee != JOB_AT_MOST_ONCE)
		job_fail("relay: %s", peer ? "promises nothing: --guarantee at-most-once" : "no memory");
	peer->job = job;
	peer->relay = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	if (inet_pton(AF_INET, host, &peer->relay.sin_addr) != 1)
		job_fail("relay: %s is no IPv4 address", host);
	peer->event_size = (uint32_t)(sizeof(struct weir_event_header) + ((job->payload_size + 7u) & ~7u));
	peer->frame_events = (job->frame_size - (uint32_t)sizeof(struct weir_frame_header)) / peer->event_size;
	if (job->frame_size < sizeof(struct weir_frame_header) + peer->event_size)
		job_fail("relay: a payload of %u bytes does not fit a frame of %u", job->payload_size, job->frame_size);
	peer->frame_bytes = (uint32_t)sizeof(struct weir_frame_header) + peer->frame_events * peer->event_size;
	peer->frames_max = SEND_BYTES / peer->frame_bytes < SEGMENTS_MAX ? SEND_BYTES / peer->frame_bytes : SEGMENTS_MAX;
	peer->fd = socket_open(0);
	for (uint32_t shard = 0; shard < JOB_SHARDS; shard++) {
		peer->out[shard].bytes = aligned_alloc(64, ROOM);
		if (!peer->out[shard].bytes)
			job_fail("relay: no memory");
	}
	for (uint32_t group = 0; group < job->groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			peer->inlets[group][shard] =
				socket_open((uint16_t)(port + BASE_PORT_AFTER + group * JOB_SHARDS + shard));
	}
	return peer;
}

// ---- Out ----

static void frame_complete(struct peer *peer, uint32_t shard)
{
	struct lane_out *out = &peer->out[shard];
	struct weir_frame_header *frame = (void *)(out->bytes + (size_t)out->frames * peer->frame_bytes);
	*frame = (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .count = (uint16_t)out->events, .sequence = out->next,
					     .shard = (uint16_t)shard };
	weir_frame_seal(frame, (uint16_t)(out->events * peer->event_size));
	out->next += out->events;
	out->frames++;
	out->events = 0;
}

// last_events: in the last frame.
static void lane_send(struct peer *peer, uint32_t shard, uint32_t last_events)
{
	struct lane_out *out = &peer->out[shard];
	size_t last = sizeof(struct weir_frame_header) + (size_t)last_events * peer->event_size;
	struct iovec vector = { out->bytes, (size_t)(out->frames - 1) * peer->frame_bytes + last };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(uint16_t))];
	} control = { .header = { .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t)) } };
	uint16_t segment = (uint16_t)peer->frame_bytes;
	memcpy(CMSG_DATA(&control.header), &segment, sizeof(segment));
	struct msghdr message = { .msg_name = &peer->relay, .msg_namelen = sizeof(peer->relay), .msg_iov = &vector,
				  .msg_iovlen = 1 };
	if (out->frames > 1) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.room);
	}
	if (sendmsg(peer->fd, &message, 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED && errno != ENOBUFS)
		job_fail("relay: send: %s", strerror(errno));
	// What is gathered behind the complete frames moves to the front.
	size_t gathered = sizeof(struct weir_frame_header) + (size_t)out->events * peer->event_size;
	if (out->events)
		memmove(out->bytes, out->bytes + (size_t)out->frames * peer->frame_bytes, gathered);
	out->frames = 0;
}

static bool relay_publish(struct peer *peer, uint32_t shard, const void *payload)
{
	struct lane_out *out = &peer->out[shard];
	const struct job_head *head = payload;
	uint8_t *at = out->bytes + (size_t)out->frames * peer->frame_bytes + sizeof(struct weir_frame_header) +
		      (size_t)out->events * peer->event_size;
	struct weir_event_header *event = (void *)at;
	*event = (struct weir_event_header){ .length = (uint32_t)sizeof(*event) + peer->job->payload_size, .type = 1,
					     .key = head->key };
	memcpy(event + 1, payload, peer->job->payload_size);
	if (++out->events < peer->frame_events)
		return true;
	frame_complete(peer, shard);
	if (out->frames == peer->frames_max)
		lane_send(peer, shard, peer->frame_events);
	return true;
}

static void relay_flush(struct peer *peer, bool is_urgent)
{
	for (uint32_t shard = 0; shard < JOB_SHARDS; shard++) {
		struct lane_out *out = &peer->out[shard];
		uint32_t last_events = peer->frame_events;
		if (is_urgent && out->events) {
			last_events = out->events;
			frame_complete(peer, shard);
		}
		if (out->frames)
			lane_send(peer, shard, last_events);
	}
}

// ---- In ----

static void frame_take(struct peer *peer, uint32_t group, const uint8_t *bytes, uint32_t size, uint64_t now_ns)
{
	const struct weir_frame_header *frame = (const void *)bytes;
	if (weir_frame_check(frame, size, true, false, NULL) != WEIR_R_NONE)
		job_fail("relay: a frame of %u bytes came damaged", size);
	const uint8_t *at = bytes + sizeof(*frame);
	struct job_inlet *inlet = &peer->job->inlets[group][frame->shard % JOB_SHARDS];
	for (uint32_t i = 0; i < frame->count; i++, at += peer->event_size)
		job_take_of(peer->job, inlet, at + sizeof(struct weir_event_header), peer->job->payload_size, now_ns);
}

static uint32_t segment_of(struct msghdr *message, uint32_t size)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int segment = (int)size;
	if (header && header->cmsg_level == SOL_UDP && header->cmsg_type == UDP_GRO)
		memcpy(&segment, CMSG_DATA(header), sizeof(segment));
	return (uint32_t)segment;
}

static bool inlet_receive(struct peer *peer, uint32_t group, uint32_t shard)
{
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control[BATCH];
	for (uint32_t i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ peer->in[i], ROOM };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = &control[i],
						       .msg_controllen = sizeof(control[i].room) };
	}
	int count = recvmmsg(peer->inlets[group][shard], messages, BATCH, MSG_DONTWAIT, NULL);
	uint64_t now_ns = job_arrival_ns(peer->job);
	for (int i = 0; i < count; i++) {
		uint32_t size = messages[i].msg_len;
		uint32_t segment = segment_of(&messages[i].msg_hdr, size);
		for (uint32_t at = 0; at < size; at += segment)
			frame_take(peer, group, peer->in[i] + at, size - at < segment ? size - at : segment, now_ns);
	}
	return count > 0;
}

static bool relay_receive(struct peer *peer)
{
	bool has_some = false;
	for (uint32_t group = 0; group < peer->job->groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			has_some |= inlet_receive(peer, group, shard);
	}
	return has_some;
}

static void relay_close(struct peer *peer)
{
	for (uint32_t group = 0; group < peer->job->groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			close(peer->inlets[group][shard]);
	}
	for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
		free(peer->out[shard].bytes);
	close(peer->fd);
	free(peer);
}

const struct peer_ops peer_relay = {
	.name = "relay",
	.open = relay_open,
	.publish = relay_publish,
	.flush = relay_flush,
	.receive = relay_receive,
	.close = relay_close,
};
