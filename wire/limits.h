// Limits that both ends of the wire must agree on. Each name says what happens at it where it is used.
// Usable from BPF, client and router: no includes beyond <stdint.h>, no code.
#ifndef WEIR_WIRE_LIMITS_H
#define WEIR_WIRE_LIMITS_H

#define WEIR_PORT_BASE 9347u         // worker i also listens on base + i
#define WEIR_VERSION 1u              // the only version spoken; hello lists versions
#define WEIR_FRAME_MIN 512u          // bytes, smallest frame size a session may agree on
#define WEIR_FRAME_MAX 9216u         // bytes, largest frame (UDP payload) ever sent or accepted
#define WEIR_FRAME_DEFAULT 1472u     // bytes, 1500 - IPv4 - UDP
#define WEIR_FRAME_TUNNEL 1232u      // bytes, 1280 - IPv6 - UDP: every path of IPv6 and most tunnels carry it
#define WEIR_FRAME_LIST_MAX 512u     // bytes, nothing but hello, welcome, publish and deliver is larger: it fits every path
#define WEIR_COUNT_MAX 4096u         // events in one frame
#define WEIR_NAME_SIZE 64u           // bytes of a name field on the wire, zero padded, last byte zero
#define WEIR_SHARDS_MAX 4096u        // shards in one topic
#define WEIR_WORKERS_MAX 64u         // workers of one router
#define WEIR_EVENT_LIMIT (16u << 20) // bytes, no topic may allow a larger event
#define WEIR_ENTRIES_MAX 64u         // entries in one ack, report, refuse or skip frame
#define WEIR_LOG_SIZE_MIN (64u << 10) // bytes, smallest shard log
#define WEIR_LATER_NS 16000000ull     // an acknowledgement of frames with LATER waits no longer at the router

#endif
