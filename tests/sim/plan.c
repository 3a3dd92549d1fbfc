// What a run is made of, drawn from its seed: topics, groups, clients, links, and which happenings visit it. The same seed
// gives the same run, so a failure is repeated by its number alone.
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

static void link_make(struct sim_random *random, struct sim_link *link, uint32_t trouble)
{
	*link = (struct sim_link){ .delay_us = sim_between(random, 5, 200), .jitter_us = sim_below(random, 20) };
	if (trouble == 0)
		return;
	uint32_t most_ppm = trouble == 1 ? 20000 : 150000;
	link->loss_ppm = sim_below(random, most_ppm);
	link->double_ppm = sim_chance(random, 50) ? sim_below(random, most_ppm / 2) : 0;
	link->corrupt_ppm = sim_chance(random, 50) ? sim_below(random, most_ppm / 4) : 0;
	link->late_ppm = sim_chance(random, 50) ? sim_below(random, most_ppm) : 0;
	link->late_us = sim_between(random, 50, 5000);
}

static void topics_make(struct sim_plan *plan, struct sim_random *random)
{
	plan->topics = sim_chance(random, 20) ? 2 : 1;
	for (uint32_t i = 0; i < plan->topics; i++) {
		struct sim_topic_plan *topic = &plan->topic[i];
		topic->shards = sim_between(random, 1, SIM_SHARDS);
		topic->policy = WEIR_POLICY_BLOCK;
		if (sim_chance(random, 15))
			topic->policy = sim_chance(random, 50) ? WEIR_POLICY_DROP_NEW : WEIR_POLICY_DROP_OLD;
		topic->log_bytes = 64u << (10 + sim_below(random, 2));
		topic->event_max = (uint32_t)(topic->log_bytes / 8);
		for (uint32_t shard = 0; shard < topic->shards; shard++)
			topic->owner[shard] = (uint16_t)sim_below(random, plan->workers);
	}
}

static void group_make(struct sim_plan *plan, struct sim_random *random, uint32_t group)
{
	struct sim_group_plan *made = &plan->group[group];
	made->topic = group < plan->topics ? group : sim_below(random, plan->topics);
	made->kind = sim_chance(random, 20) ? WEIR_GROUP_FOLLOW : WEIR_GROUP_HOLD;
	made->coordinator = (uint16_t)sim_below(random, plan->workers);
	made->quota_bytes = made->kind == WEIR_GROUP_FOLLOW && sim_chance(random, 50) ? 16u << 10 : 0;
	made->progress_timeout_ns = sim_chance(random, 10) ? 3 * SIM_S : 0;
}

static void producer_make(struct sim_plan *plan, struct sim_random *random, struct sim_client_plan *client)
{
	client->role = SIM_PRODUCER;
	client->topic = sim_below(random, plan->topics);
	client->is_named = sim_chance(random, 50);
	client->level = sim_chance(random, 10) ? WEIR_LEVEL_NONE : WEIR_LEVEL_ROUTED;
	client->events = sim_between(random, 1, plan->is_long ? SIM_EVENTS : SIM_EVENTS / 4);
	client->keys = sim_between(random, 1, SIM_KEYS);
	client->size_max = sim_chance(random, 50) ? 48 : sim_between(random, 1, 900);
	client->large_percent = sim_chance(random, 20) ? sim_between(random, 1, 10) : 0;
	client->burst = sim_chance(random, 50) ? 1 : sim_between(random, 2, 200);
	client->pause_us = sim_between(random, 10, 2000);
}

static void consumer_make(struct sim_plan *plan, struct sim_random *random, struct sim_client_plan *client, uint32_t group)
{
	client->role = SIM_CONSUMER;
	client->group = group;
	client->topic = plan->group[group].topic;
	client->take = sim_between(random, 1, 64);
	client->pause_us = sim_chance(random, 20) ? sim_between(random, 1000, 50000) : sim_between(random, 20, 2000);
	client->settle_by_hand = sim_chance(random, 40);
	client->settle_late_us = sim_chance(random, 50) ? 0 : sim_below(random, 20000);
	if (sim_chance(random, 30))
		client->credit_bytes = sim_between(random, 40u << 10, 200u << 10);
}

static void clients_make(struct sim_plan *plan, struct sim_random *random, uint32_t trouble)
{
	uint32_t producers = sim_between(random, 1, 3);
	for (uint32_t i = 0; i < producers; i++)
		producer_make(plan, random, &plan->client[plan->clients++]);
	for (uint32_t group = 0; group < plan->groups; group++) {
		uint32_t members = sim_between(random, 1, 3);
		for (uint32_t i = 0; i < members; i++)
			consumer_make(plan, random, &plan->client[plan->clients++], group);
	}
	uint32_t local_percent = sim_chance(random, 50) ? sim_below(random, 101) : 0;
	for (uint32_t i = 0; i < plan->clients; i++) {
		static const uint32_t SIZES[] = { 512, 1232, 1472, 1472, 1472, 4096, 9216 };
		struct sim_client_plan *client = &plan->client[i];
		client->worker = (uint16_t)sim_below(random, plan->workers);
		client->frame_size = SIZES[sim_below(random, 7)];
		link_make(random, &client->link, trouble);
		client->is_local = sim_chance(random, local_percent);
	}
}

static uint32_t sometimes(struct sim_random *random, uint32_t percent, uint32_t low_ms, uint32_t high_ms)
{
	return sim_chance(random, percent) ? sim_between(random, low_ms, high_ms) : 0;
}

void sim_plan_make(struct sim_plan *plan, uint64_t seed)
{
	bool is_long = plan->is_long;
	struct sim_random random = { .state = seed * 0x9e3779b97f4a7c15ull + 1 };
	*plan = (struct sim_plan){ .seed = seed, .is_long = is_long };
	uint32_t trouble = sim_below(&random, 3);
	plan->workers = sim_chance(&random, 40) ? 1 : sim_between(&random, 2, SIM_WORKERS);
	plan->mesh_slots = sim_chance(&random, 20) ? sim_between(&random, 4, 16) : 256;
	plan->frame_size = sim_chance(&random, 30) ? 9216 : 1472;
	topics_make(plan, &random);
	plan->groups = plan->topics + sim_below(&random, 3);
	for (uint32_t group = 0; group < SIM_GROUPS; group++)
		group_make(plan, &random, group);
	clients_make(plan, &random, trouble);
	bool is_eventful = sim_chance(&random, 70);
	plan->router_restart_ms = is_eventful ? sometimes(&random, 8, 50, 2000) : 0;
	plan->producer_crash_ms = is_eventful ? sometimes(&random, 15, 50, 1000) : 0;
	plan->consumer_crash_ms = is_eventful ? sometimes(&random, 20, 50, 1000) : 0;
	plan->leave_ms = is_eventful ? sometimes(&random, 25, 10, 1000) : 0;
	plan->move_ms = is_eventful && plan->workers > 1 ? sometimes(&random, 40, 2, 300) : 0;
	plan->group_change_ms = is_eventful ? sometimes(&random, 15, 20, 500) : 0;
	plan->group_again_ms = is_eventful ? sometimes(&random, 15, 50, 1000) : 0;
	plan->topic_again_ms = is_eventful ? sometimes(&random, 10, 100, 1000) : 0;
	plan->producer_again_ms = is_eventful ? sometimes(&random, 20, 20, 500) : 0;
	bool has_ghosts = is_eventful && sim_chance(&random, 50);
	for (uint32_t i = 0; has_ghosts && i < plan->clients; i++)
		plan->client[i].link.ghost_ppm = 5000;
	plan->blocked_ms = is_eventful ? sometimes(&random, 20, 5, 300) : 0;
	plan->outage_ms = is_eventful ? sometimes(&random, 15, 50, 1000) : 0;
	plan->rebind_ms = is_eventful ? sometimes(&random, 10, 100, 1000) : 0;
	plan->pause_ms = is_eventful ? sometimes(&random, 20, 10, 500) : 0;
	plan->behind_frames = sim_chance(&random, 50) ? sim_between(&random, 1, 8) : WEIR_BEHIND_FRAMES;
	plan->deaf_ms = is_eventful ? sometimes(&random, 15, 50, 500) : 0;
	plan->shrink_ms = is_eventful ? sometimes(&random, 25, 50, 800) : 0;
}

static void client_print(const struct sim_client_plan *client, uint32_t index)
{
	printf("  client %u at worker %u, %sframes of %u, loss %u double %u corrupt %u late %u/%u us: ", index,
	       client->worker, client->is_local ? "on a lane, " : "", client->frame_size, client->link.loss_ppm,
	       client->link.double_ppm, client->link.corrupt_ppm, client->link.late_ppm, client->link.late_us);
	if (client->role == SIM_PRODUCER)
		printf("publishes %u events to topic %u, %s, level %d, %u keys, up to %u bytes, %u %% large, bursts of %u "
		       "each %u us\n",
		       client->events, client->topic, client->is_named ? "named" : "anonymous", client->level, client->keys,
		       client->size_max, client->large_percent, client->burst, client->pause_us);
	else
		printf("consumes group %u, %u events each %u us, credit %u, settles %s %u us\n", client->group, client->take,
		       client->pause_us, client->credit_bytes, client->settle_by_hand ? "by hand within" : "itself",
		       client->settle_late_us);
}

void sim_plan_print(const struct sim_plan *plan)
{
	printf("seed %lu: %u workers, mesh of %u slots, frames of %u, behind with %u\n", (unsigned long)plan->seed,
	       plan->workers, plan->mesh_slots, plan->frame_size, plan->behind_frames);
	for (uint32_t i = 0; i < plan->topics; i++)
		printf("  topic %u: %u shards, policy %u, logs of %lu\n", i, plan->topic[i].shards, plan->topic[i].policy,
		       (unsigned long)plan->topic[i].log_bytes);
	for (uint32_t i = 0; i < plan->groups; i++)
		printf("  group %u of topic %u: %s, coordinator %u, quota %lu, progress timeout %lu\n", i, plan->group[i].topic,
		       plan->group[i].kind == WEIR_GROUP_HOLD ? "hold" : "follow", plan->group[i].coordinator,
		       (unsigned long)plan->group[i].quota_bytes, (unsigned long)plan->group[i].progress_timeout_ns);
	for (uint32_t i = 0; i < plan->clients; i++)
		client_print(&plan->client[i], i);
	printf("  each so many ms: router restart %u, producer crash %u, consumer crash %u, leave %u, move %u, group %u, "
	       "blocked %u, "
	       "outage %u, rebind %u, pause %u, deaf %u, shrink %u\n",
	       plan->router_restart_ms, plan->producer_crash_ms, plan->consumer_crash_ms, plan->leave_ms, plan->move_ms,
	       plan->group_change_ms, plan->blocked_ms, plan->outage_ms, plan->rebind_ms, plan->pause_ms, plan->deaf_ms,
	       plan->shrink_ms);
}
