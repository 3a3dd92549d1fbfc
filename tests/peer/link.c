// One socket and one queue ordered by time. Datagrams that nothing befalls pass through the queue too, due at once, so that
// there is one way. Called by main.c's loop; one thread.
#include "tests/peer/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/sim/random.h"

#define MS 1000000ull
#define REORDER_MS 20u    // one that is overtaken comes up to so much later
#define WAITING_MAX 8192u // what finds more waiting is lost, as in any queue
#define BURST 256u

struct waiting {
	TAILQ_ENTRY(waiting) entry;
	uint64_t due_ns;
	struct peer_datagram datagram;
};

struct peer_link {
	struct peer_link_calls calls;
	struct peer_weather weather;
	struct sim_random random;
	TAILQ_HEAD(waiting_queue, waiting) queue; // by due_ns
	uint32_t waiting;
	int descriptor;
};

int peer_link_open(struct peer_link **link, const struct in_addr *address, uint16_t port, uint64_t seed,
		   const struct peer_link_calls *calls)
{
	struct peer_link *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	*made = (struct peer_link){ .calls = *calls, .random = { seed } };
	TAILQ_INIT(&made->queue);
	made->descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = *address };
	if (made->descriptor < 0 || bind(made->descriptor, (struct sockaddr *)&name, sizeof(name))) {
		int error = -errno;
		peer_link_close(made);
		return error;
	}
	setsockopt(made->descriptor, SOL_SOCKET, SO_RCVBUF, &(int){ 8 << 20 }, sizeof(int));
	*link = made;
	return 0;
}

void peer_link_close(struct peer_link *link)
{
	struct waiting *waiting;
	while ((waiting = TAILQ_FIRST(&link->queue))) {
		TAILQ_REMOVE(&link->queue, waiting, entry);
		free(waiting);
	}
	if (link->descriptor >= 0)
		close(link->descriptor);
	free(link);
}

uint16_t peer_link_port(const struct peer_link *link)
{
	struct sockaddr_in name = { 0 };
	socklen_t size = sizeof(name);
	getsockname(link->descriptor, (struct sockaddr *)&name, &size);
	return ntohs(name.sin_port);
}

int peer_link_descriptor(const struct peer_link *link)
{
	return link->descriptor;
}

void peer_link_weather(struct peer_link *link, const struct peer_weather *weather)
{
	link->weather = *weather;
}

static void queue_put(struct peer_link *link, const struct peer_datagram *datagram, uint64_t due_ns)
{
	struct waiting *at, *made;
	if (link->waiting == WAITING_MAX || !(made = malloc(sizeof(*made))))
		return;
	made->due_ns = due_ns;
	made->datagram.peer = datagram->peer;
	made->datagram.size = datagram->size;
	made->datagram.is_in = datagram->is_in;
	memcpy(made->datagram.data, datagram->data, datagram->size);
	TAILQ_FOREACH_REVERSE(at, &link->queue, waiting_queue, entry) {
		if (at->due_ns <= due_ns)
			break;
	}
	if (at)
		TAILQ_INSERT_AFTER(&link->queue, at, made, entry);
	else
		TAILQ_INSERT_HEAD(&link->queue, made, entry);
	link->waiting++;
}

static void befall(struct peer_link *link, const struct peer_datagram *datagram, uint64_t now_ns)
{
	const struct peer_weather *weather = &link->weather;
	uint32_t copies = sim_chance(&link->random, weather->drop) ? 0 : sim_chance(&link->random, weather->twice) ? 2 : 1;
	for (uint32_t i = 0; i < copies; i++) {
		uint64_t due_ns = now_ns + weather->delay_ms * MS;
		if (sim_chance(&link->random, weather->reorder) || i > 0)
			due_ns += sim_below(&link->random, REORDER_MS * 1000) * 1000ull;
		queue_put(link, datagram, due_ns);
	}
}

void peer_link_send(struct peer_link *link, const struct sockaddr_in *peer, const void *data, uint32_t size, uint64_t now_ns)
{
	static struct peer_datagram datagram;
	datagram.peer = *peer;
	datagram.size = size;
	datagram.is_in = false;
	memcpy(datagram.data, data, size);
	befall(link, &datagram, now_ns);
}

static void receive(struct peer_link *link, uint64_t now_ns)
{
	static struct peer_datagram datagram;
	for (uint32_t i = 0; i < BURST; i++) {
		socklen_t name_size = sizeof(datagram.peer);
		ssize_t size = recvfrom(link->descriptor, datagram.data, sizeof(datagram.data), 0,
					(struct sockaddr *)&datagram.peer, &name_size);
		if (size < 0)
			return;
		datagram.size = (uint32_t)size;
		datagram.is_in = true;
		link->calls.seen(link->calls.context, &datagram, now_ns);
		befall(link, &datagram, now_ns);
	}
}

uint64_t peer_link_run(struct peer_link *link, uint64_t now_ns)
{
	struct waiting *waiting;
	receive(link, now_ns);
	while ((waiting = TAILQ_FIRST(&link->queue)) && waiting->due_ns <= now_ns) {
		TAILQ_REMOVE(&link->queue, waiting, entry);
		link->waiting--;
		const struct peer_datagram *datagram = &waiting->datagram;
		// What the kernel does not take is lost on the way, like anything else.
		bool is_sent = datagram->is_in ||
			       sendto(link->descriptor, datagram->data, datagram->size, 0,
				      (const struct sockaddr *)&datagram->peer, sizeof(datagram->peer)) >= 0;
		if (is_sent)
			link->calls.arrived(link->calls.context, datagram, now_ns);
		free(waiting);
	}
	return waiting ? waiting->due_ns : UINT64_MAX;
}
