// A load client's way to the router: libweir over a socket or a lane, or its sans-I/O core over a DPDK port. One client a link;
// over DPDK all links of a process share one device and one thread.
//
// Addresses: whatever weir_open() takes, or "dpdk:DEVARGS;address=A.B.C.D;router=A.B.C.D[:PORT]".
#ifndef WEIR_PERF_LINK_H
#define WEIR_PERF_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "client/core.h"
#include "client/weir.h"

#define WEIR_LINK_ERROR 320u

// The device that the links of a DPDK address share; NULL for all other addresses.
struct weir_link_device;

struct weir_link {
	struct weir *weir;      // socket or lane
	struct weir_core *core; // DPDK
	struct weir_link_device *device;
	struct weir_core_output output;
	uint16_t endpoint;
};

static inline bool weir_link_is_dpdk(const char *address)
{
	return __builtin_strncmp(address, "dpdk:", 5) == 0;
}

// Starts DPDK with room for `links` links. 0, or -errno and the reason.
int weir_link_device_open(struct weir_link_device **device, const char *address, uint32_t links, char error[WEIR_LINK_ERROR]);
void weir_link_device_close(struct weir_link_device *device);
// A burst from the device to its links; once before their polls.
void weir_link_device_receive(struct weir_link_device *device, uint64_t now_ns);

// `device` NULL: weir_open(address). index: of the link, from 0.
int weir_link_open(struct weir_link *link, const char *address, struct weir_link_device *device, uint32_t index);
// Ends the session in order, waiting at most timeout_ms over sockets; over DPDK at once, without waiting.
int weir_link_close(struct weir_link *link, int timeout_ms);

int weir_link_producer_open(struct weir_link *link, const char *topic, const struct weir_producer_options *options,
			    struct weir_producer **producer);
int weir_link_consumer_open(struct weir_link *link, const char *topic, const char *group, struct weir_consumer **consumer);

int weir_link_publish(struct weir_link *link, struct weir_producer *producer, const struct weir_event *event);
int weir_link_consume(struct weir_link *link, struct weir_consumer *consumer, struct weir_view *views, int most,
		      uint64_t now_ns);

// Sends and receives without waiting; datagrams received, or -errno of a broken socket.
int weir_link_poll(struct weir_link *link, uint64_t now_ns);
// Until something arrived or due_ns (CLOCK_MONOTONIC); over DPDK not at all.
void weir_link_wait(struct weir_link *link, uint64_t now_ns, uint64_t due_ns);

void weir_link_statistics(const struct weir_link *link, struct weir_statistics *statistics);

#endif
