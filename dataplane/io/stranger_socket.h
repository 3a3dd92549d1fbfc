// The second socket of a kernel UDP port, on the same address and port: answers to those without a session leave through it
// and fill nothing that sessions need. What is addressed to a dead host waits in the kernel for seconds until nobody says
// whose MAC that is; 20,000 such answers a second stopped all sending when they waited in the port's own socket. It receives
// nothing. Hot functions: the port's worker; open and close: control.
#ifndef WEIR_IO_STRANGER_SOCKET_H
#define WEIR_IO_STRANGER_SOCKET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/path.h"
#include "wire/limits.h"

struct weir_stranger_socket {
	int fd;
	bool names_source; // bound to all addresses
	struct weir_path path; // of the frame that is written
	uint8_t frame[WEIR_FRAME_MAX];
};

// Beside the bound socket `fd`, with its address, port and options; all that arrives goes on to `fd`. 0 or -errno.
int weir_stranger_socket_open(struct weir_stranger_socket *stranger, int fd, bool names_source);
void weir_stranger_socket_close(struct weir_stranger_socket *stranger);

// Sends the first `size` bytes of `frame` along `path`. false: it is lost, for good.
bool weir_stranger_socket_send(struct weir_stranger_socket *stranger, uint32_t size);

#endif
