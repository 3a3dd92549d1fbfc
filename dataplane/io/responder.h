// What the kernel would answer on an interface of its own, and weir answers on a device that the kernel does not know: ARP,
// neighbour discovery, ping. Packets are turned into their answers in place. Plain bytes, no state. Worker.
#ifndef WEIR_IO_RESPONDER_H
#define WEIR_IO_RESPONDER_H

#include <stdint.h>

#include "dataplane/io/packet.h"

// A packet of `size` bytes in a buffer of `room`. Returns the size of the answer that stands there now, or 0: none is due,
// and the packet is as it was.
uint32_t weir_responder_answer(uint8_t *data, uint32_t size, uint32_t room, const struct weir_packet_own *own,
			       const uint8_t mac[6]);

#endif
