// Links over sockets and lanes (libweir drives them) and over a DPDK device (they are driven here), see perf/link.h. Called
// by the thread that owns the link.
#include "perf/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "perf/ethdev_transport.h"

#define LOCAL_PORT 20000u // of the first link over a device

struct weir_link_device {
	struct weir_ethdev_transport *transport;
};

// The text behind `key` up to the next semicolon; "" when it is not there.
static void part_of(const char *address, const char *key, char *text, size_t size)
{
	const char *at = strstr(address, key);
	text[0] = 0;
	if (at)
		snprintf(text, size, "%.*s", (int)strcspn(at + strlen(key), ";"), at + strlen(key));
}

int weir_link_device_open(struct weir_link_device **out, const char *address, uint32_t links, char error[WEIR_LINK_ERROR])
{
	char device[256];
	char own[64];
	char router[64];
	char url[80];
	char why[WEIR_ETHDEV_TRANSPORT_WHY] = "";
	snprintf(device, sizeof(device), "%.*s", (int)strcspn(address + 5, ";"), address + 5);
	part_of(address, ";address=", own, sizeof(own));
	part_of(address, ";router=", router, sizeof(router));
	snprintf(url, sizeof(url), "udp://%s", router);
	if (!device[0] || !own[0] || !router[0] || links > WEIR_ETHDEV_TRANSPORT_ENDPOINTS) {
		snprintf(error, WEIR_LINK_ERROR, "router %.100s: cannot use it: it is no dpdk:DEVARGS;address=A.B.C.D;"
			 "router=A.B.C.D[:PORT], or the scenario has more than %u clients. Fix: correct it, or lower counts",
			 address, WEIR_ETHDEV_TRANSPORT_ENDPOINTS);
		return -EINVAL;
	}
	struct weir_link_device *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	struct weir_ethdev_transport_options options = { .device = device, .address = own, .router = url,
							 .local_port = LOCAL_PORT, .endpoints = (uint16_t)links };
	int result = weir_ethdev_transport_open(&made->transport, &options, why);
	if (result) {
		snprintf(error, WEIR_LINK_ERROR, "device %.100s: cannot open it: %.150s. Fix: see that the router's side is up",
			 device, why[0] ? why : strerror(-result));
		free(made);
		return result;
	}
	*out = made;
	return 0;
}

void weir_link_device_close(struct weir_link_device *device)
{
	weir_ethdev_transport_close(device->transport);
	free(device);
}

void weir_link_device_receive(struct weir_link_device *device, uint64_t now_ns)
{
	weir_ethdev_transport_receive(device->transport, now_ns);
}

static uint64_t clock_of(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static int core_open(struct weir_link *link, uint32_t index)
{
	uint64_t now_ns = clock_of(CLOCK_MONOTONIC);
	struct weir_core_options options = {
		.realtime_offset_ns = (int64_t)(clock_of(CLOCK_REALTIME) - now_ns),
		.credit_bytes = weir_ethdev_transport_credit(link->device->transport),
	};
	if (getrandom(options.secret, sizeof(options.secret), 0) != sizeof(options.secret))
		return -errno;
	int result = weir_core_create(&link->core, &options, now_ns);
	if (result == 0)
		link->output = weir_ethdev_transport_attach(link->device->transport, (uint16_t)index, link->core);
	link->endpoint = (uint16_t)index;
	return result;
}

int weir_link_open(struct weir_link *link, const char *address, struct weir_link_device *device, uint32_t index)
{
	*link = (struct weir_link){ .device = device };
	return device ? core_open(link, index) : weir_open(&link->weir, address, NULL);
}

int weir_link_close(struct weir_link *link, int timeout_ms)
{
	if (!link->core)
		return weir_close(link->weir, timeout_ms);
	uint64_t now_ns = clock_of(CLOCK_MONOTONIC);
	weir_core_bye(link->core, now_ns);
	weir_core_poll(link->core, now_ns, &link->output);
	weir_ethdev_transport_attach(link->device->transport, link->endpoint, NULL);
	weir_core_destroy(link->core);
	link->core = NULL;
	return 0;
}

int weir_link_producer_open(struct weir_link *link, const char *topic, const struct weir_producer_options *options,
			    struct weir_producer **producer)
{
	if (link->core)
		return weir_core_producer_open(link->core, topic, options, producer);
	return weir_producer_open(producer, link->weir, topic, options);
}

int weir_link_consumer_open(struct weir_link *link, const char *topic, const char *group, struct weir_consumer **consumer)
{
	if (link->core)
		return weir_core_consumer_open(link->core, topic, group, NULL, consumer);
	return weir_consumer_open(consumer, link->weir, topic, group, NULL);
}

int weir_link_publish(struct weir_link *link, struct weir_producer *producer, const struct weir_event *event)
{
	return link->core ? weir_core_publish(producer, event) : weir_publish(producer, event);
}

int weir_link_consume(struct weir_link *link, struct weir_consumer *consumer, struct weir_view *views, int most,
		      uint64_t now_ns)
{
	return link->core ? weir_core_consume(consumer, views, most, now_ns) : weir_consume(consumer, views, most);
}

int weir_link_poll(struct weir_link *link, uint64_t now_ns)
{
	if (!link->core)
		return weir_poll(link->weir, 0);
	weir_core_release(link->core);
	weir_core_poll(link->core, now_ns, &link->output);
	return 0;
}

void weir_link_wait(struct weir_link *link, uint64_t now_ns, uint64_t due_ns)
{
	if (link->core || due_ns <= now_ns)
		return;
	uint64_t left_ns = due_ns - now_ns;
	struct timespec timeout = { (time_t)(left_ns / 1000000000ull), (long)(left_ns % 1000000000ull) };
	struct pollfd pollfd = { .fd = weir_fd(link->weir), .events = POLLIN };
	ppoll(&pollfd, 1, &timeout, NULL);
}

void weir_link_statistics(const struct weir_link *link, struct weir_statistics *statistics)
{
	if (link->core)
		weir_core_statistics(link->core, statistics);
	else
		weir_statistics(link->weir, statistics);
}
