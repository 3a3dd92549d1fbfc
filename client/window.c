// Congestion window and round-trip time of a session. Round trip: RFC 6298. Window: doubling per round trip until the
// first loss, then additive increase and halving, once per round trip. Called by streams only.
#include "client/state.h"

#define WINDOW_FIRST 32u
#define WINDOW_LEAST 2u
#define TIMEOUT_UNMEASURED_NS (100 * MS)
#define TIMEOUT_LEAST_NS (10 * MS)
#define TIMEOUT_MOST_NS (2000 * MS)
#define GAP_UNMEASURED_NS (10 * MS)

void window_init(struct window *window, uint32_t frames_max)
{
	*window = (struct window){
		.frames_max = frames_max > WINDOW_LEAST ? frames_max : WINDOW_LEAST,
		.is_slow_start = true,
	};
	window->frames = WINDOW_FIRST < window->frames_max ? WINDOW_FIRST : window->frames_max;
}

void window_restart(struct window *window)
{
	uint32_t frames = WINDOW_FIRST < window->frames_max ? WINDOW_FIRST : window->frames_max;
	window->frames = frames > window->frames ? frames : window->frames;
	window->is_slow_start = true;
	window->credit = 0;
}

void window_open(struct window *window)
{
	window->frames = window->frames_max;
	window->is_open = true;
}

void window_acked(struct window *window, uint32_t frames)
{
	// An idle sender proves nothing about the path: grow only what was in use. in_flight already lacks these frames.
	if (window->in_flight + frames < window->frames / 2)
		return;
	if (window->is_slow_start) {
		window->frames += frames;
	} else {
		window->credit += frames;
		if (window->credit >= window->frames) {
			window->credit -= window->frames;
			window->frames++;
		}
	}
	if (window->frames > window->frames_max)
		window->frames = window->frames_max;
}

void window_lost(struct window *window, uint64_t sent_ns, uint64_t now_ns)
{
	// Memory has no path that is congested: after a loss, which a full ring between workers is, it opens fast again.
	window->is_slow_start = window->is_open;
	if (sent_ns < window->cut_ns)
		return;
	window->cut_ns = now_ns;
	window->credit = 0;
	window->frames = window->frames / 2 > WINDOW_LEAST ? window->frames / 2 : WINDOW_LEAST;
}

void window_measured(struct window *window, uint64_t round_trip_ns, uint64_t wait_ns)
{
	if (window->smoothed_ns && round_trip_ns > window->smoothed_ns) {
		// A way as long as ever and the wait explain it: no news.
		if (round_trip_ns <= window->smoothed_ns + wait_ns)
			return;
		round_trip_ns -= wait_ns;
	}
	if (window->smoothed_ns == 0) {
		window->smoothed_ns = max_u64(round_trip_ns, 1);
		window->deviation_ns = round_trip_ns / 2;
		return;
	}
	uint64_t distance = round_trip_ns > window->smoothed_ns ? round_trip_ns - window->smoothed_ns :
								  window->smoothed_ns - round_trip_ns;
	window->deviation_ns = (3 * window->deviation_ns + distance) / 4;
	window->smoothed_ns = max_u64((7 * window->smoothed_ns + round_trip_ns) / 8, 1);
}

uint64_t window_timeout(const struct window *window)
{
	if (window->smoothed_ns == 0)
		return TIMEOUT_UNMEASURED_NS;
	return min_u64(max_u64(window->smoothed_ns + 4 * window->deviation_ns, TIMEOUT_LEAST_NS), TIMEOUT_MOST_NS);
}

uint64_t window_gap_ns(const struct window *window)
{
	return window->smoothed_ns ? window->smoothed_ns : GAP_UNMEASURED_NS;
}
