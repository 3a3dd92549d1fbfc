// Frames over a DPDK device, AF_XDP or any other: whole packets in, headers looked at in software, whole packets out. What
// is sent lies in direct, single-segment buffers of the queue's own pool, because the AF_XDP driver copies or spoils
// everything else. Hot functions: the queue's worker.
#include <assert.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/socket.h>

#include <rte_cycles.h>

#include "dataplane/io/ethdev.h"
#include "dataplane/io/responder.h"

static struct weir_ethdev *ethdev_of(struct weir_port *port)
{
	return (struct weir_ethdev *)port;
}

// ---- In ----

// Packets that the device or the kernel's socket had no room for. A packet that the XDP program redirected ends in the
// socket's receive ring or in one of two of its counters: rx_ring_full, or rx_dropped, for want of a buffer or too large for
// one. rx_fill_ring_empty_descs is the reason of some of the latter, not more of them.
static uint64_t missed_by_device(const struct weir_ethdev *ethdev)
{
	struct xdp_statistics xdp = { 0 };
	struct rte_eth_stats stats;
	socklen_t size = sizeof(xdp);

	if (ethdev->socket >= 0)
		return getsockopt(ethdev->socket, SOL_XDP, XDP_STATISTICS, &xdp, &size) < 0 ?
			       ethdev->missed :
			       xdp.rx_dropped + xdp.rx_ring_full;
	return rte_eth_stats_get(ethdev->device, &stats) != 0 ? ethdev->missed : stats.imissed + stats.rx_nombuf;
}

static void ethdev_count_lost(struct weir_port *port)
{
	struct weir_ethdev *ethdev = ethdev_of(port);
	uint64_t missed;

	// A device counts for all its queues together: one of them takes it up.
	if (!ethdev->owns_device || port->is_away)
		return;
	missed = missed_by_device(ethdev);
	if (missed > ethdev->missed)
		weir_port_drop(port, WEIR_R_NO_BUFFER, missed - ethdev->missed);
	ethdev->missed = missed;
}

// Not a weir frame: on a device of our own it may be a question that we have to answer. true: the buffer is on its way out.
static bool answer_foreign(struct weir_ethdev *ethdev, struct rte_mbuf *packet)
{
	uint32_t room = rte_pktmbuf_data_len(packet) + rte_pktmbuf_tailroom(packet);
	uint32_t size;

	weir_count(&ethdev->port.statistics.passed, 1);
	if (packet->nb_segs != 1 || ethdev->outgoing_count == WEIR_ETHDEV_SEND_ROOM)
		return false;
	size = weir_responder_answer(rte_pktmbuf_mtod(packet, uint8_t *), packet->data_len, room, &ethdev->own, ethdev->mac);
	if (size == 0)
		return false;
	packet->data_len = (uint16_t)size;
	packet->pkt_len = size;
	ethdev->outgoing[ethdev->outgoing_count++] = packet;
	return true;
}

// Packet i of the burst, as arrival number `count`. Returns the number of arrivals now.
static uint32_t look_at_packet(struct weir_ethdev *ethdev, uint32_t i, uint32_t count)
{
	struct rte_mbuf *mbuf = ethdev->received[i];
	const uint8_t *data = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	struct weir_path *path = &ethdev->paths[count];
	struct weir_packet packet;

	path->port = ethdev->port.index;
	packet = weir_packet_parse(data, mbuf->data_len, &ethdev->own, path);
	switch (packet.verdict) {
	case WEIR_PACKET_FRAME:
		if (mbuf->nb_segs > 1 || packet.size > ethdev->port.frame_max) {
			weir_port_drop(&ethdev->port, WEIR_R_NO_BUFFER, 1);
			return count;
		}
		ethdev->arrivals[count] =
			(struct weir_arrival){ data + packet.offset, path, packet.size, ethdev->port.trust_link, NULL };
		return count + 1;
	case WEIR_PACKET_DROP:
		weir_port_drop(&ethdev->port, packet.reason, 1);
		return count;
	case WEIR_PACKET_FOREIGN:
		break;
	}
	// Behind the guard there is nothing foreign: what it took and we do not know is lost by name.
	if (!ethdev->is_responder) {
		weir_port_drop(&ethdev->port, WEIR_R_IP_HEADER, 1);
		return count;
	}
	if (answer_foreign(ethdev, mbuf))
		ethdev->received[i] = NULL;
	return count;
}

// Control wants the device, because its interface is gone, or has opened it again. What waits in it is lost with it.
static void answer_call(struct weir_ethdev *ethdev, uint32_t call)
{
	if (call == WEIR_ETHDEV_LEAVE) {
		rte_pktmbuf_free_bulk(ethdev->spare, ethdev->spare_count);
		rte_pktmbuf_free_bulk(ethdev->outgoing, ethdev->outgoing_count);
		weir_count(&ethdev->port.statistics.send_lost, ethdev->outgoing_count);
		ethdev->spare_count = 0;
		ethdev->outgoing_count = 0;
		ethdev->allowance = 0;
	}
	ethdev->missed = 0; // the next socket counts from there
	ethdev->port.is_away = call == WEIR_ETHDEV_LEAVE;
	// Pairs with the watch's load: the device is not touched any more.
	atomic_store_explicit(&ethdev->answered, call, memory_order_release);
}

static uint32_t ethdev_receive(struct weir_port *port, const struct weir_arrival **arrivals)
{
	struct weir_ethdev *ethdev = ethdev_of(port);
	// Pairs with the watch's store: the device is open again.
	uint32_t call = atomic_load_explicit(&ethdev->called, memory_order_acquire);
	uint32_t count = 0;
	uint64_t bytes = 0;
	uint32_t n;

	*arrivals = ethdev->arrivals;
	if ((call == WEIR_ETHDEV_LEAVE) != port->is_away)
		answer_call(ethdev, call);
	if (port->is_away)
		return 0;
	n = rte_eth_rx_burst(ethdev->device, ethdev->queue, ethdev->received, WEIR_ETHDEV_BURST);
	if (n == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		if (i + 4 < n)
			rte_prefetch0(rte_pktmbuf_mtod(ethdev->received[i + 4], void *));
		count = look_at_packet(ethdev, i, count);
	}
	for (uint32_t i = 0; i < count; i++)
		bytes += ethdev->arrivals[i].size;
	ethdev->received_count = n;
	if (count == 0)
		port->ops->receive_done(port);
	weir_count(&port->statistics.received, count);
	weir_count(&port->statistics.received_bytes, bytes);
	weir_count(&port->statistics.receive_calls, 1);
	return count;
}

static void ethdev_receive_done(struct weir_port *port)
{
	struct weir_ethdev *ethdev = ethdev_of(port);

	rte_pktmbuf_free_bulk(ethdev->received, ethdev->received_count);
	ethdev->received_count = 0;
}

// ---- Out ----

static bool ethdev_link_is_up(const struct weir_port *port)
{
	const struct weir_ethdev *ethdev = (const struct weir_ethdev *)port;
	struct rte_eth_link link;

	// The AF_XDP driver says up whatever becomes of the interface.
	if (!ethdev->is_responder)
		return !atomic_load_explicit(&port->is_unplugged, memory_order_relaxed);
	return rte_eth_link_get_nowait(ethdev->device, &link) != 0 || link.link_status == RTE_ETH_LINK_UP;
}

// The device took nothing. Behind a device of our own stands one peer: when it is gone, or stands still for long, what waits
// is lost, so that the worker finds rest and the next peer does not get what was meant for this one. true: nothing stays.
static bool give_up_on(struct weir_ethdev *ethdev)
{
	uint64_t now = rte_get_tsc_cycles();

	if (!ethdev->is_responder)
		return false;
	if (ethdev->stuck_since == 0)
		ethdev->stuck_since = now;
	if (ethdev_link_is_up(&ethdev->port) && now - ethdev->stuck_since < WEIR_ETHDEV_STUCK_S * rte_get_tsc_hz())
		return false;
	rte_pktmbuf_free_bulk(ethdev->outgoing, ethdev->outgoing_count);
	weir_count(&ethdev->port.statistics.send_lost, ethdev->outgoing_count);
	ethdev->outgoing_count = 0;
	ethdev->stuck_since = 0;
	return true;
}

static bool ethdev_flush(struct weir_port *port)
{
	struct weir_ethdev *ethdev = ethdev_of(port);
	uint32_t count = ethdev->outgoing_count;
	uint64_t bytes = 0;
	uint32_t sent;

	if (count == 0)
		return true;
	for (uint32_t i = 0; i < count; i++)
		bytes += ethdev->outgoing[i]->pkt_len; // the device owns them afterwards
	sent = rte_eth_tx_burst(ethdev->device, ethdev->queue, ethdev->outgoing, (uint16_t)count);
	weir_count(&port->statistics.send_calls, 1);
	if (sent == 0)
		return give_up_on(ethdev);
	ethdev->stuck_since = 0;
	for (uint32_t i = sent; i < count; i++)
		bytes -= ethdev->outgoing[i]->pkt_len;
	weir_count(&port->statistics.sent, sent);
	weir_count(&port->statistics.sent_bytes, bytes);
	if (sent == count) {
		ethdev->outgoing_count = 0;
		return true;
	}
	memmove(ethdev->outgoing, ethdev->outgoing + sent, (count - sent) * sizeof(ethdev->outgoing[0]));
	ethdev->outgoing_count = count - sent;
	return false;
}

// Reception needs buffers more than sending does: a router that cannot receive acknowledgements never sends again.
static bool take_spare(struct weir_ethdev *ethdev)
{
	if (ethdev->allowance < WEIR_ETHDEV_SPARE) {
		// Counting walks the caches of all threads: not for every few buffers.
		uint32_t available = rte_mempool_avail_count(ethdev->pool);

		if (available < WEIR_ETHDEV_POOL_KEPT + WEIR_ETHDEV_ALLOWANCE)
			return false;
		ethdev->allowance = WEIR_ETHDEV_ALLOWANCE;
	}
	if (rte_pktmbuf_alloc_bulk(ethdev->pool, ethdev->spare, WEIR_ETHDEV_SPARE) != 0)
		return false;
	ethdev->allowance -= WEIR_ETHDEV_SPARE;
	ethdev->spare_count = WEIR_ETHDEV_SPARE;
	return true;
}

static void *ethdev_send_reserve(struct weir_port *port, const struct weir_path *path, uint32_t size)
{
	struct weir_ethdev *ethdev = ethdev_of(port);
	uint32_t head = weir_packet_head_size(path);

	if (size > port->frame_max) {
		weir_count(&port->statistics.send_lost, 1);
		return WEIR_SEND_NEVER;
	}
	if (port->is_away)
		return ethdev->nowhere;
	// Half of what may wait is sessions' alone.
	if (path->is_stranger && ethdev->outgoing_count >= WEIR_ETHDEV_SEND_ROOM / 2) {
		weir_count(&port->statistics.send_lost, 1);
		return NULL;
	}
	if (ethdev->outgoing_count == WEIR_ETHDEV_SEND_ROOM)
		ethdev_flush(port);
	if (ethdev->outgoing_count == WEIR_ETHDEV_SEND_ROOM || (ethdev->spare_count == 0 && !take_spare(ethdev))) {
		weir_count(&port->statistics.send_blocked, 1);
		return NULL;
	}
	ethdev->current = ethdev->spare[ethdev->spare_count - 1];
	ethdev->current_path = *path;
	ethdev->current_head = head;
	return rte_pktmbuf_mtod_offset(ethdev->current, void *, head);
}

static void ethdev_send_commit(struct weir_port *port, uint32_t size)
{
	struct weir_ethdev *ethdev = ethdev_of(port);
	struct rte_mbuf *packet = ethdev->current;

	if (port->is_away) {
		weir_count(&port->statistics.send_lost, size > 0);
		return;
	}
	assert(packet && size <= port->frame_max);
	ethdev->current = NULL;
	if (size == 0)
		return; // it stays a spare
	ethdev->spare_count--;
	weir_packet_head_write(rte_pktmbuf_mtod(packet, uint8_t *), &ethdev->current_path, size);
	packet->data_len = (uint16_t)(ethdev->current_head + size);
	packet->pkt_len = packet->data_len;
	ethdev->outgoing[ethdev->outgoing_count++] = packet;
}

// ---- Life ----

static uint32_t ethdev_buffers_free(const struct weir_port *port, uint32_t *total)
{
	const struct weir_ethdev *ethdev = (const struct weir_ethdev *)port;

	*total = 0;
	if (!ethdev->pool)
		return 0;
	*total = ethdev->pool->size;
	return rte_mempool_avail_count(ethdev->pool);
}

static void ethdev_close(struct weir_port *port)
{
	weir_ethdev_close(ethdev_of(port));
}

const struct weir_port_ops weir_ethdev_ops = {
	.receive = ethdev_receive,
	.receive_done = ethdev_receive_done,
	.send_reserve = ethdev_send_reserve,
	.send_commit = ethdev_send_commit,
	.flush = ethdev_flush,
	.count_lost = ethdev_count_lost,
	.link_is_up = ethdev_link_is_up,
	.buffers_free = ethdev_buffers_free,
	.watch = weir_ethdev_watch,
	.close = ethdev_close,
};
