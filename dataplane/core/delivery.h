// What the two files of a delivery stream share: delivery.c decides (terms, reports, timers), delivery_send.c makes frames.
#ifndef WEIR_CORE_DELIVERY_H
#define WEIR_CORE_DELIVERY_H

#include "dataplane/core/internal.h"

// Something was sent in this term and not reported as received.
static inline bool weir_delivery_is_outstanding(const struct weir_delivery_stream *delivery)
{
	return delivery->received_to < delivery->sent_to || delivery->fragment_received < delivery->fragment_most;
}

static inline bool weir_delivery_has_backlog(const struct weir_delivery_stream *delivery)
{
	return delivery->from < weir_cursor_offset(&delivery->sent) || delivery->sent.position != delivery->shard->log.head;
}

// Sends the next frame from `sent`: 1 sent, 0 nothing to send or no credit (is_starved says so), -EAGAIN no room now.
int weir_delivery_send(struct weir_delivery_stream *delivery, uint64_t now_ns);
// An empty frame that says where the router stands. 0 or -EAGAIN.
int weir_delivery_announce(struct weir_delivery_stream *delivery, uint64_t now_ns);
// Control frames of the term. 0 or -EAGAIN.
int weir_delivery_send_assign(struct weir_delivery_stream *delivery);
int weir_delivery_send_revoke(struct weir_shard *shard, const struct weir_session_ref *to, uint32_t handle,
			      const struct weir_revoke *revoke);

#endif
