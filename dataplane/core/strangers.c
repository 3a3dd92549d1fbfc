// A leaky bucket for each row, as one number: the time at which it is empty again (GCRA, ITU-T I.371). Engine's thread.
#include "dataplane/core/strangers.h"

#include <string.h>

#include "lib/siphash.h"

#define SECOND_NS 1000000000ull

static const struct {
	uint64_t pace_ns; // between two answers in the long run
	uint64_t burst;   // answers at once
} BUDGETS[WEIR_STRANGER_QUESTIONS] = {
	[WEIR_STRANGER_HELLO] = { SECOND_NS / 2000, 4096 },
	[WEIR_STRANGER_NO_SESSION] = { SECOND_NS / 1000, 100 },
	[WEIR_STRANGER_MOVED] = { SECOND_NS / 1000, 100 },
};

void weir_strangers_init(struct weir_strangers *strangers, const uint64_t secret[2])
{
	memset(strangers, 0, sizeof(*strangers));
	memcpy(strangers->secret, secret, sizeof(strangers->secret));
}

bool weir_strangers_may_ask(struct weir_strangers *strangers, const struct weir_path *path,
			    enum weir_stranger_question question, uint64_t now_ns)
{
	// An IPv4 address, a lane's number, or the part of an IPv6 address that a host cannot choose.
	uint64_t source = 0;
	memcpy(&source, path->remote_ip, sizeof(source));
	uint64_t row = lib_siphash(strangers->secret, &source, sizeof(source)) % WEIR_STRANGER_ROWS;
	uint64_t *free_ns = &strangers->free_ns[question][row];
	uint64_t from_ns = *free_ns > now_ns ? *free_ns : now_ns;
	if (from_ns - now_ns > BUDGETS[question].pace_ns * (BUDGETS[question].burst - 1))
		return false;
	*free_ns = from_ns + BUDGETS[question].pace_ns;
	return true;
}
