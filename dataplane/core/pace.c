// How much of a delivery may be under way, and in frames of which size. The member's credit bounds what may lie in its socket;
// a congestion window bounds what the path and a member that reports losses may draw (RFC 5681, counted in charge). Full
// frames that vanish while small ones arrive make frames smaller (RFC 8899). Owner's worker only; called from delivery.c.
#include "dataplane/core/delivery.h"

#define WINDOW_FIRST 32u // frames
#define WINDOW_LEAST 2u
#define WINDOW_MOST (1ull << 40)
#define VANISHED_MAX 3u // copies of the first frame running that did not arrive, while what was sent later did

static uint64_t frames(const struct weir_delivery_stream *delivery, uint32_t count)
{
	return (uint64_t)count * weir_charge(delivery->member.frame_size);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void allow(struct weir_delivery_stream *delivery)
{
	const struct weir_pace *pace = &delivery->pace;
	uint64_t window_end = pace->flight_from + pace->window;
	delivery->allowed = pace->limit < window_end ? pace->limit : window_end;
}

static void window_first(struct weir_delivery_stream *delivery)
{
	struct weir_pace *pace = &delivery->pace;
	// Memory has no path that is congested.
	pace->window = delivery->member.lane ? WINDOW_MOST : frames(delivery, WINDOW_FIRST);
	pace->slow_to = WINDOW_MOST;
	pace->lost_to = 0;
}

void weir_pace_begin(struct weir_delivery_stream *delivery)
{
	delivery->charged = 0;
	delivery->pace = (struct weir_pace){ 0 };
	delivery->vanished = 0;
	delivery->first_end = UINT64_MAX;
	window_first(delivery);
	allow(delivery);
}

static void window_grow(struct weir_delivery_stream *delivery, uint64_t arrived, uint64_t flight)
{
	struct weir_pace *pace = &delivery->pace;
	// Who sends little learns nothing about the path.
	if (flight < pace->window / 2 || pace->window >= WINDOW_MOST)
		return;
	if (pace->window < pace->slow_to)
		pace->window += arrived;
	else
		pace->window += frames(delivery, 1) * arrived / pace->window;
}

void weir_pace_report(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, bool is_progress)
{
	struct weir_pace *pace = &delivery->pace;
	uint64_t allowed = delivery->allowed;
	uint64_t seen = entry->charged < delivery->charged ? entry->charged : delivery->charged;
	if (seen > pace->seen) {
		if (is_progress)
			window_grow(delivery, seen - pace->seen, delivery->charged - pace->flight_from);
		pace->seen = seen;
		pace->flight_from = larger(pace->flight_from, seen);
	}
	if (is_progress) {
		delivery->vanished = 0;
		delivery->first_end = UINT64_MAX;
	}
	pace->limit = larger(pace->limit, entry->limit);
	allow(delivery);
	if (delivery->allowed > allowed)
		delivery->is_starved = false;
}

void weir_pace_late(struct weir_delivery_stream *delivery)
{
	delivery->pace.flight_from = delivery->charged;
	allow(delivery);
}

void weir_pace_lost(struct weir_delivery_stream *delivery, bool was_silent)
{
	struct weir_pace *pace = &delivery->pace;
	if (delivery->member.lane)
		return;
	uint64_t least = frames(delivery, WINDOW_LEAST);
	// Once for all that was under way.
	if (pace->seen >= pace->lost_to) {
		pace->slow_to = larger(pace->window / 2, least);
		pace->lost_to = delivery->charged;
		pace->window = pace->slow_to;
	}
	if (was_silent)
		pace->window = least;
	allow(delivery);
}

bool weir_pace_can_step(const struct weir_delivery_stream *delivery)
{
	return !delivery->member.lane && delivery->first_size > WEIR_FRAME_MIN;
}

bool weir_pace_has_missed(const struct weir_delivery_stream *delivery)
{
	return delivery->pace.seen >= delivery->first_end;
}

bool weir_pace_vanished(struct weir_delivery_stream *delivery)
{
	if (!weir_pace_has_missed(delivery))
		return false;
	delivery->first_end = UINT64_MAX;
	if (!weir_pace_can_step(delivery)) {
		delivery->vanished = 0;
		return false;
	}
	if (++delivery->vanished < VANISHED_MAX)
		return false;
	delivery->vanished = 0;
	delivery->member.frame_size = (uint16_t)weir_frame_step(delivery->first_size);
	// What was too large says nothing about congestion.
	window_first(delivery);
	allow(delivery);
	return true;
}
