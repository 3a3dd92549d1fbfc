// A producer's share of the load, see perf/source.h: of a pattern, one of so many equal parts with its own seed and phase; of
// a trace, the keys that fall to it, so that the order of a key is kept.
#include "perf/source.h"

static void steps_add(struct weir_profile *profile, const struct weir_scenario *scenario, double rate)
{
	for (uint32_t i = 0; i < scenario->step_count; i++) {
		const struct weir_scenario_step *step = &scenario->steps[i];
		double to = step->load_to >= 0 ? step->load_to : step->load;
		// Never full: a scenario has at most as many steps as a profile pieces.
		weir_profile_add(profile, step->length_ns, rate * step->load, rate * to);
	}
}

void weir_source_init(struct weir_source *source, const struct weir_scenario *scenario,
		      const struct weir_scenario_producers *producers, const struct weir_trace *trace, uint32_t member,
		      uint64_t seed)
{
	struct weir_random random = { .state = seed };
	double parameter = producers->keys.pick == WEIR_KEYS_HOT ? producers->keys.share : producers->keys.exponent;
	*source = (struct weir_source){ .trace = trace, .speed = producers->trace.speed, .member = member,
					.members = producers->count, .length_ns = weir_scenario_length(scenario) };
	steps_add(&source->profile, scenario, producers->rate / producers->count);
	weir_arrivals_init(&source->arrivals, producers->arrivals, producers->burst, (double)member / producers->count,
			   weir_random_next(&random));
	weir_keys_init(&source->keys, producers->keys.pick, producers->keys.count, parameter, weir_random_next(&random));
	source->sizes.random.state = weir_random_next(&random);
	for (uint32_t i = 0; i < producers->size_count; i++) {
		source->sizes.all[i] = (struct weir_size){ producers->sizes[i].bytes, producers->sizes[i].weight };
		source->sizes.total += producers->sizes[i].weight;
		source->sizes.count++;
	}
	weir_source_advance(source);
}

static void trace_advance(struct weir_source *source)
{
	const struct weir_trace *trace = source->trace;
	// A trace without a key for this producer ends after one look at all of it.
	for (uint32_t looked = 0; looked <= trace->count; looked++) {
		if (source->at == trace->count) {
			source->at = 0;
			source->round++;
		}
		const struct weir_trace_event *event = &trace->events[source->at++];
		double time = (double)(source->round * trace->length_ns + event->time_ns) / source->speed;
		if (time >= (double)source->length_ns)
			break;
		if (event->key % source->members != source->member)
			continue;
		source->next = (struct weir_source_event){ .time_ns = (uint64_t)time, .key = event->key, .size = event->size };
		const struct weir_profile *profile = &source->profile;
		while (source->piece + 1 < profile->count && time >= profile->pieces[source->piece + 1].start_ns)
			source->piece++;
		source->next.step = source->piece;
		return;
	}
	source->next.time_ns = UINT64_MAX;
}

void weir_source_advance(struct weir_source *source)
{
	if (source->trace) {
		trace_advance(source);
		return;
	}
	uint64_t time = weir_profile_time(&source->profile, weir_arrivals_next(&source->arrivals), &source->piece);
	source->next.time_ns = time;
	if (time == UINT64_MAX)
		return;
	source->next.key = weir_keys_next(&source->keys);
	source->next.size = weir_sizes_next(&source->sizes);
	source->next.step = source->piece;
}

uint32_t weir_source_key_count(const struct weir_source *source)
{
	return source->trace ? source->trace->key_count : source->keys.count;
}

uint32_t weir_source_size_max(const struct weir_source *source)
{
	uint32_t most = weir_sizes_max(&source->sizes);
	for (uint32_t i = 0; source->trace && i < source->trace->count; i++)
		most = source->trace->events[i].size > most ? source->trace->events[i].size : most;
	return most;
}
