// What befalls the way to the router while weircat runs, said once each: lost, since when and why, and what happens meanwhile;
// back, after how long, and what is in doubt. Main thread.
#include <string.h>

#include "client/weircat/weircat.h"
#include "lib/clock.h"

static const char *reason_of(const struct weir *weir)
{
	int error = weir_error(weir);
	return error ? strerror(-error) : "it said goodbye, or nothing for the lease";
}

void cat_watch(struct cat_watch *watch, const struct cat_options *options, const struct weir *weir, uint64_t doubts)
{
	enum weir_state state = weir_state(weir);
	if (state == WEIR_STATE_LOST && !watch->is_lost) {
		watch->is_lost = true;
		watch->lost_ns = lib_clock_ns();
		cat_say(options, "%s: router lost (%s); asking for it again and again, %s", options->router, reason_of(weir),
			watch->meanwhile);
	} else if (state == WEIR_STATE_READY && watch->is_lost) {
		double away_s = (double)(lib_clock_ns() - watch->lost_ns) / 1e9;
		watch->is_lost = false;
		if (doubts == watch->doubts)
			cat_say(options, "%s: router back after %.1f s; no event is in doubt", options->router, away_s);
		else
			cat_say(options, "%s: router back after %.1f s; %llu events in doubt: %s", options->router, away_s,
				(unsigned long long)(doubts - watch->doubts), watch->doubtful);
		watch->doubts = watch->is_total ? 0 : doubts;
	}
}
