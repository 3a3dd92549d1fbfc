// The one door between control and workers: commands go in, answers come out, nobody waits for anybody. One control
// thread at a time uses it.
//
// A snapshot is published by sending WEIR_MESSAGE_SNAPSHOT to every worker; when all answered DONE the old one is free.
#ifndef WEIR_IO_GATE_H
#define WEIR_IO_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/message.h"

struct weir_gate;
struct weir_mesh;

// The mesh outlives the gate.
int weir_gate_create(struct weir_gate **gate, struct weir_mesh *mesh, uint16_t workers);
void weir_gate_destroy(struct weir_gate *gate);

uint16_t weir_gate_workers(const struct weir_gate *gate);

// Puts a command into the worker's ring and wakes it. Never fails: what does not fit waits and goes out with the next
// send or receive. The message is copied; what it points at lives until the answer.
void weir_gate_send(struct weir_gate *gate, uint16_t worker, const struct weir_message *message);

// Next answer or message of any worker, round-robin; message->from says whose. false: none now.
bool weir_gate_receive(struct weir_gate *gate, struct weir_message *message);

// Waits for weir_gate_receive() to have something: at most timeout_ms (-1: for ever). false: timeout.
bool weir_gate_wait(struct weir_gate *gate, int timeout_ms);

// Readable when weir_gate_receive() has something. Read by the gate itself; only poll it.
int weir_gate_fd(const struct weir_gate *gate);

#endif
