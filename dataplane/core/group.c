// The coordinator of groups: who is a member, and which member has which shard. It decides at one worker per group, fixed for
// the group's life, and tells the shards' owners by message; the owners answer `released` when a term is over. Balanced
// (shares differ by one at most), sticky (a member keeps what it has as far as its share allows) and deterministic.
//
// A place is one (group, shard). At most one revoke is under way for it; revoke-now may follow when its member dies meanwhile.
// What a message decides is written into places and members first. Owners are told afterwards, from the turn's loop: a place
// remembers what its owner is to be told, so that however much is decided at once needs no queue and nothing is lost.
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "dataplane/core/engine_state.h"

#define MS 1000000ull
#define RETRY_NS (10 * MS) // a shard's owner did not know the group yet, or the shard was on its way
#define CHUNK_PLACES 64u
#define CHUNKS_MAX (WEIR_SHARDS_MAX / CHUNK_PLACES)
#define CHUNKS_EXTRA 1024u // beyond one a group: 16 groups of 4,096 shards; none left: setup answers -ENOSPC
#define TERM_NS (1000 * MS) // a term in the long run; faster, and the place waits
#define BALANCE_PLACES 32u // looking at so many places costs as much as a message
#define STALL_DOUBLINGS 6u // of a lease: who stalls again and again gets shards seldom
#define NOBODY UINT16_MAX

enum place_state {
	PLACE_FREE,
	PLACE_ASSIGNED,
	PLACE_REVOKING,
};

struct place {
	uint32_t term;
	uint16_t member; // index, NOBODY when free
	uint8_t state;   // enum place_state
	bool is_waiting; // nothing is told to its owner before the retry timer
	uint8_t telling; // what its owner is to be told: enum weir_message_kind, 0: nothing
	uint8_t told;    // what it was told last in this term
};

struct chunk {
	struct chunk *next;
	struct place places[CHUNK_PLACES];
};

struct member {
	struct weir_session_ref session; // id 0: free entry
	uint64_t stalled_until_ns; // gets no more shards before
	uint32_t stalls;           // in a row
	uint64_t working_ns;       // said then that it is at work; 0: never
	uint64_t number;           // of the membership
	uint32_t assigned; // places in PLACE_ASSIGNED
	uint32_t held;     // places in any state
	uint32_t share;    // of the rebalance that runs
	bool is_leaving;
	bool is_gone; // its places are revoked without asking it
};

struct group {
	struct weir_coordinator *coordinator;
	uint32_t topic;
	uint32_t id; // 0: free entry
	uint32_t shards;
	uint32_t terms_base;  // terms begin above
	uint64_t terms_ns;    // since then
	uint32_t members_used; // entries below this may be in use
	struct member *members; // [members_max]
	struct chunk *chunks[CHUNKS_MAX];
	struct weir_timer timer;
	// In the coordinator's list of groups with something to do, while one of these is true.
	bool is_uneven;      // to be balanced
	uint32_t telling;    // places that have something to tell and do not wait
	uint32_t tell_at;    // where to look for the next one
	bool is_busy;        // in the list
	TAILQ_ENTRY(group) busy;
};

TAILQ_HEAD(group_list, group);

struct weir_coordinator {
	struct weir_engine *engine;
	uint32_t groups_max;
	uint32_t members_max;
	struct group *groups;
	struct group_list busy;
	struct weir_chains by_id; // of groups
	void *chains;             // its memory
	struct member *members;
	struct chunk *chunks;
	struct chunk *free;
};

static struct place *place_of(struct group *group, uint32_t shard)
{
	return &group->chunks[shard / CHUNK_PLACES]->places[shard % CHUNK_PLACES];
}

static struct group *group_find(struct weir_coordinator *coordinator, uint32_t id)
{
	uint32_t at = weir_chains_first(&coordinator->by_id, id);
	while (at && coordinator->groups[at - 1].id != id)
		at = weir_chains_next(&coordinator->by_id, at - 1);
	return at ? &coordinator->groups[at - 1] : NULL;
}

static uint32_t member_find(const struct group *group, uint64_t session)
{
	for (uint32_t i = 0; i < group->members_used; i++) {
		if (group->members[i].session.id == session)
			return i;
	}
	return NOBODY;
}

// ---- Messages ----

static void answer_home(struct weir_coordinator *coordinator, const struct weir_message *question, uint16_t kind,
			int32_t result)
{
	struct weir_message message = {
		.kind = kind,
		.from = weir_engine_worker(coordinator->engine),
		.worker = question->session.home,
		.topic = question->topic,
		.group = question->group,
		.result = result,
		.member = question->member,
		.session = question->session,
	};
	weir_engine_tell(coordinator->engine, question->session.home, &message);
}

static void left_send(struct group *group, const struct member *member)
{
	struct weir_message question = {
		.topic = group->topic, .group = group->id, .member = member->number, .session = member->session,
	};
	answer_home(group->coordinator, &question, WEIR_MESSAGE_MEMBER_LEFT, 0);
}

static void done_send(struct weir_coordinator *coordinator, const struct weir_message *command, int32_t result)
{
	struct weir_message done = *command;
	done.kind = WEIR_MESSAGE_DONE;
	done.from = weir_engine_worker(coordinator->engine);
	done.result = result;
	done.value = 0;
	weir_engine_tell(coordinator->engine, WEIR_FROM_CONTROL, &done);
}

// NULL when the snapshot does not name the topic: nobody to tell.
static const uint16_t *owner_of(const struct group *group, uint32_t shard)
{
	const struct weir_snapshot *snapshot = weir_engine_snapshot(group->coordinator->engine);
	const struct weir_topic_spec *topic = snapshot ? weir_snapshot_topic(snapshot, group->topic) : NULL;
	return topic && shard < topic->shards ? &topic->owner[shard] : NULL;
}

static void owner_tell(struct group *group, uint32_t shard, uint16_t owner)
{
	struct weir_engine *engine = group->coordinator->engine;
	const struct place *place = place_of(group, shard);
	const struct weir_message message = {
		.kind = place->told,
		.from = weir_engine_worker(engine),
		.worker = owner,
		.shard = (uint16_t)shard,
		.topic = group->topic,
		.group = group->id,
		.term = place->term,
		.value = weir_engine_worker(engine), // the message may be forwarded: `from` is not enough
		.member = group->members[place->member].number,
		.session = group->members[place->member].session,
	};
	weir_engine_tell(engine, owner, &message);
}

// ---- Places ----

static void timer_arm(struct group *group, uint64_t due_ns)
{
	if (!weir_timer_is_armed(&group->timer) || group->timer.due_ns > due_ns)
		weir_wheel_arm(weir_engine_wheel(group->coordinator->engine), &group->timer, due_ns);
}

// The group has something to do in the turn's loop.
static void busy_mark(struct group *group)
{
	struct weir_coordinator *coordinator = group->coordinator;
	coordinator->engine->has_work = coordinator->engine->has_to_tell = true;
	if (group->is_busy)
		return;
	group->is_busy = true;
	TAILQ_INSERT_TAIL(&coordinator->busy, group, busy);
}

static void busy_unmark(struct group *group)
{
	if (group->is_busy)
		TAILQ_REMOVE(&group->coordinator->busy, group, busy);
	group->is_busy = false;
}

static void uneven_mark(struct group *group)
{
	group->is_uneven = true;
	busy_mark(group);
}

static bool is_to_tell(const struct place *place)
{
	return place->telling && !place->is_waiting;
}

static void telling_set(struct group *group, struct place *place, uint8_t telling, bool is_waiting)
{
	group->telling -= is_to_tell(place);
	place->telling = telling;
	place->is_waiting = is_waiting;
	group->telling += is_to_tell(place);
	if (is_to_tell(place))
		busy_mark(group);
}

static void place_wait(struct group *group, struct place *place, uint8_t telling, uint64_t now_ns)
{
	telling_set(group, place, telling, true);
	timer_arm(group, now_ns + RETRY_NS);
}

// Terms fence what members write elsewhere: none of this router may reach those of the next one, which begin by the time.
static bool has_term(const struct group *group, const struct place *place, uint64_t now_ns)
{
	uint64_t most = group->terms_base + WEIR_TERMS_BURST + (now_ns - group->terms_ns) / TERM_NS;
	return place->term < most && place->term < UINT32_MAX;
}

static void place_assign(struct group *group, struct place *place, uint16_t index, uint64_t now_ns)
{
	if (place->term == 0)
		place->term = group->terms_base;
	if (!has_term(group, place, now_ns)) {
		place_wait(group, place, 0, now_ns);
		return;
	}
	place->term++;
	place->state = PLACE_ASSIGNED;
	place->member = index;
	place->told = 0;
	group->members[index].assigned++;
	group->members[index].held++;
	telling_set(group, place, WEIR_MESSAGE_ASSIGN, false);
}

static void place_free(struct group *group, struct place *place)
{
	if (place->state == PLACE_FREE)
		return;
	struct member *member = &group->members[place->member];
	member->assigned -= place->state == PLACE_ASSIGNED;
	member->held--;
	// A term that nobody heard of is given again.
	place->term -= place->told == 0;
	place->state = PLACE_FREE;
	place->member = NOBODY;
	telling_set(group, place, 0, false);
}

// kind: revoke or revoke-now.
static void place_revoke(struct group *group, struct place *place, uint8_t kind)
{
	// Nobody knows of the term yet.
	if (place->told == 0) {
		place_free(group, place);
		return;
	}
	group->members[place->member].assigned -= place->state == PLACE_ASSIGNED;
	place->state = PLACE_REVOKING;
	telling_set(group, place, kind, false);
}

// false: no room at its owner now. A topic that left the snapshot is being removed: its places are free at once.
static bool place_tell(struct group *group, uint32_t shard, uint64_t now_ns)
{
	struct place *place = place_of(group, shard);
	const uint16_t *owner = owner_of(group, shard);
	if (!owner) {
		place_free(group, place);
		place_wait(group, place, 0, now_ns);
		uneven_mark(group);
		return true;
	}
	if (!weir_engine_may_tell(group->coordinator->engine, *owner))
		return false;
	place->told = place->telling;
	telling_set(group, place, 0, false);
	owner_tell(group, shard, *owner);
	return true;
}

// ---- Shares ----

static bool is_stalled(const struct member *member, uint64_t now_ns)
{
	return member->stalled_until_ns > now_ns;
}

static bool takes_part(const struct member *member)
{
	return member->session.id && !member->is_leaving;
}

// What each member should have. A stalled one keeps what it has and gets no more; the others share the rest, those
// that already have one more keep it.
static void shares_compute(struct group *group, uint64_t now_ns)
{
	uint32_t rest = group->shards;
	uint32_t sharing = 0;
	for (uint32_t i = 0; i < group->members_used; i++) {
		struct member *member = &group->members[i];
		member->share = 0;
		if (!takes_part(member))
			continue;
		if (is_stalled(member, now_ns)) {
			member->share = member->assigned;
			rest -= member->assigned;
			timer_arm(group, member->stalled_until_ns);
		} else {
			sharing++;
		}
	}
	if (sharing == 0)
		return;
	uint32_t floor = rest / sharing;
	uint32_t extra = rest % sharing;
	for (uint32_t pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < group->members_used; i++) {
			struct member *member = &group->members[i];
			if (!takes_part(member) || is_stalled(member, now_ns) || (member->assigned > floor) != (pass == 0))
				continue;
			member->share = floor + (extra > 0);
			extra -= extra > 0;
		}
	}
}

static void members_sweep(struct group *group)
{
	for (uint32_t i = 0; i < group->members_used; i++) {
		struct member *member = &group->members[i];
		if (member->session.id && member->is_leaving && member->held == 0) {
			left_send(group, member);
			*member = (struct member){ 0 };
		}
	}
	while (group->members_used && !group->members[group->members_used - 1].session.id)
		group->members_used--;
}

// Places that members have above their shares; of those that are gone all, also the ones that are being revoked.
static void surplus_revoke(struct group *group)
{
	uint32_t surplus = 0;
	for (uint32_t i = 0; i < group->members_used; i++) {
		const struct member *member = &group->members[i];
		if (member->is_gone)
			surplus += member->held;
		else if (member->assigned > member->share)
			surplus += member->assigned - member->share;
	}
	for (uint32_t shard = group->shards; shard > 0 && surplus; shard--) {
		struct place *place = place_of(group, shard - 1);
		if (place->state == PLACE_FREE)
			continue;
		const struct member *member = &group->members[place->member];
		bool is_told = place->telling == WEIR_MESSAGE_REVOKE_NOW || place->told == WEIR_MESSAGE_REVOKE_NOW;
		bool is_over = place->state == PLACE_ASSIGNED && member->assigned > member->share;
		surplus -= member->is_gone || is_over;
		if (member->is_gone && !is_told)
			place_revoke(group, place, WEIR_MESSAGE_REVOKE_NOW);
		else if (!member->is_gone && is_over)
			place_revoke(group, place, WEIR_MESSAGE_REVOKE);
	}
}

static void free_assign(struct group *group, uint64_t now_ns)
{
	uint32_t next = 0;
	uint32_t free = group->shards;
	for (uint32_t i = 0; i < group->members_used; i++)
		free -= group->members[i].held;
	for (uint32_t shard = 0; shard < group->shards && free && next < group->members_used; shard++) {
		struct place *place = place_of(group, shard);
		if (place->state != PLACE_FREE)
			continue;
		free--;
		if (place->is_waiting)
			continue;
		while (next < group->members_used && group->members[next].assigned >= group->members[next].share)
			next++;
		if (next < group->members_used)
			place_assign(group, place, (uint16_t)next, now_ns);
	}
}

static void rebalance(struct group *group, uint64_t now_ns)
{
	shares_compute(group, now_ns);
	surplus_revoke(group);
	free_assign(group, now_ns);
	members_sweep(group);
}

static void fire(struct weir_timer *timer, void *context, uint64_t now_ns)
{
	struct group *group = (struct group *)(void *)((uint8_t *)timer - offsetof(struct group, timer));
	for (uint32_t shard = 0; shard < group->shards; shard++) {
		struct place *place = place_of(group, shard);
		if (place->is_waiting)
			telling_set(group, place, place->telling, false);
	}
	uneven_mark(group);
}

// ---- Members ----

// For one more member from that source. -ENOSPC, -EDQUOT.
static int member_place(const struct weir_coordinator *coordinator, struct group *group, uint8_t source, uint32_t *index)
{
	uint32_t live = 0;
	uint32_t of_source = 0;
	for (uint32_t i = 0; i < group->members_used; i++) {
		const struct member *member = &group->members[i];
		live += member->session.id != 0;
		of_source += member->session.id && member->session.source == source;
	}
	if (live == coordinator->members_max)
		return -ENOSPC;
	if (!weir_share_may_take(of_source, coordinator->members_max - live))
		return -EDQUOT;
	*index = member_find(group, 0);
	if (*index == NOBODY)
		*index = group->members_used++;
	return 0;
}

static void member_join(struct weir_coordinator *coordinator, struct group *group, const struct weir_message *message)
{
	if (!group) {
		answer_home(coordinator, message, WEIR_MESSAGE_MEMBER_JOINED, -ENOENT);
		return;
	}
	uint32_t index = member_find(group, message->session.id);
	if (index == NOBODY) {
		int result = member_place(coordinator, group, message->session.source, &index);
		if (result) {
			answer_home(coordinator, message, WEIR_MESSAGE_MEMBER_JOINED, result);
			return;
		}
	}
	struct member *member = &group->members[index];
	member->session = message->session;
	member->number = message->member;
	member->is_leaving = member->is_gone = false;
	member->working_ns = 0;
	answer_home(coordinator, message, WEIR_MESSAGE_MEMBER_JOINED, 0);
	uneven_mark(group);
}

static void member_leave(struct weir_coordinator *coordinator, struct group *group, const struct weir_message *message)
{
	uint32_t index = group ? member_find(group, message->session.id) : NOBODY;
	if (index == NOBODY) {
		answer_home(coordinator, message, WEIR_MESSAGE_MEMBER_LEFT, 0);
		return;
	}
	group->members[index].is_leaving = true;
	uneven_mark(group);
}

// The entry is free when the last owner answered.
static void member_gone(struct group *group, const struct weir_message *message)
{
	uint32_t index = member_find(group, message->session.id);
	if (index == NOBODY)
		return;
	group->members[index].is_leaving = group->members[index].is_gone = true;
	uneven_mark(group);
}

static struct place *place_named(struct group *group, const struct weir_message *message)
{
	struct place *place = message->shard < group->shards ? place_of(group, message->shard) : NULL;
	return place && place->state != PLACE_FREE && place->term == message->term ? place : NULL;
}

static void released(struct group *group, const struct weir_message *message, uint64_t now_ns)
{
	struct place *place = place_named(group, message);
	if (!place)
		return;
	bool is_unheard = message->result == -ENOENT && place->told == WEIR_MESSAGE_ASSIGN;
	if (is_unheard)
		place->told = 0;
	place_free(group, place);
	if (message->result == -ENOENT)
		place_wait(group, place, 0, now_ns);
	uneven_mark(group);
}

// The shard was on its way to its owner: it is told again. What has been followed by another command is not: a revoke ends a
// term that its owner never heard of.
static void returned(struct group *group, const struct weir_message *message, uint64_t now_ns)
{
	struct place *place = place_named(group, message);
	if (place && place->told == message->result && !place->telling)
		place_wait(group, place, place->told, now_ns);
}

// Of all its shards that stall at about the same time the first one counts.
static void member_stall(const struct group *group, struct member *member, uint64_t now_ns)
{
	uint64_t lease_ns = weir_engine_limits_of(group->coordinator->engine)->lease_ms * MS;
	if (is_stalled(member, now_ns))
		return;
	uint64_t pause_ns = lease_ns << member->stalls;
	// It was given shards again, and did well for as long as it had none.
	if (now_ns - member->stalled_until_ns > pause_ns + lease_ns)
		member->stalls = 0;
	member->stalled_until_ns = now_ns + (lease_ns << member->stalls);
	member->stalls += member->stalls < STALL_DOUBLINGS;
}

static void stalled(struct group *group, const struct weir_message *message, uint64_t now_ns)
{
	struct place *place = place_named(group, message);
	if (!place || place->state != PLACE_ASSIGNED)
		return;
	struct member *member = &group->members[place->member];
	// Whoever says that it is at work need not show it by settling.
	if (member->working_ns && now_ns - member->working_ns < message->value) {
		telling_set(group, place, WEIR_MESSAGE_GO_ON, false);
		return;
	}
	member_stall(group, member, now_ns);
	place_revoke(group, place, WEIR_MESSAGE_REVOKE);
	uneven_mark(group);
}

static void working(struct group *group, const struct weir_message *message, uint64_t now_ns)
{
	uint32_t index = member_find(group, message->session.id);
	if (index != NOBODY)
		group->members[index].working_ns = now_ns;
}

// ---- The turn's loop ----

// Tells owners what the group's places have to tell them, at most `budget`. Returns how many were told.
static uint32_t group_tell(struct group *group, uint32_t budget, uint64_t now_ns)
{
	uint32_t told = 0;
	for (uint32_t i = 0; i < group->shards && group->telling && told < budget; i++) {
		uint32_t shard = group->tell_at;
		group->tell_at = shard + 1 < group->shards ? shard + 1 : 0;
		if (is_to_tell(place_of(group, shard)))
			told += place_tell(group, shard, now_ns);
	}
	return told;
}

bool weir_coordinator_is_busy(const struct weir_coordinator *coordinator)
{
	return !TAILQ_EMPTY(&coordinator->busy);
}

// A group that waits for room lets the next one go first.
uint32_t weir_coordinator_run(struct weir_coordinator *coordinator, uint32_t budget, uint64_t now_ns)
{
	struct group *group = TAILQ_FIRST(&coordinator->busy);
	if (!group)
		return 0;
	uint32_t cost = 0;
	busy_unmark(group);
	if (group->is_uneven) {
		group->is_uneven = false;
		rebalance(group, now_ns);
		cost = 1 + group->shards / BALANCE_PLACES;
	}
	cost += group_tell(group, budget, now_ns);
	if (group->telling || group->is_uneven)
		busy_mark(group);
	return cost;
}

// ---- Groups ----

static void chunks_free(struct group *group)
{
	struct weir_coordinator *coordinator = group->coordinator;
	for (uint32_t i = 0; i < CHUNKS_MAX && group->chunks[i]; i++) {
		group->chunks[i]->next = coordinator->free;
		coordinator->free = group->chunks[i];
		group->chunks[i] = NULL;
	}
}

static int setup(struct weir_coordinator *coordinator, const struct weir_message *message, uint64_t now_ns)
{
	if (message->group == 0 || message->shard == 0 || message->shard > WEIR_SHARDS_MAX)
		return -EINVAL;
	if (group_find(coordinator, message->group))
		return -EEXIST;
	struct group *group = NULL;
	for (uint32_t i = 0; i < coordinator->groups_max && !group; i++) {
		if (coordinator->groups[i].id == 0)
			group = &coordinator->groups[i];
	}
	if (!group)
		return -ENOSPC;
	uint32_t chunks = (message->shard + CHUNK_PLACES - 1) / CHUNK_PLACES;
	for (uint32_t i = 0; i < chunks; i++) {
		struct chunk *chunk = coordinator->free;
		if (!chunk) {
			chunks_free(group);
			return -ENOSPC;
		}
		coordinator->free = chunk->next;
		group->chunks[i] = chunk;
		for (uint32_t k = 0; k < CHUNK_PLACES; k++)
			chunk->places[k] = (struct place){ .member = NOBODY };
	}
	group->topic = message->topic;
	group->id = message->group;
	group->shards = message->shard;
	group->terms_base = (uint32_t)message->value;
	group->terms_ns = now_ns;
	group->members_used = 0;
	group->is_uneven = false;
	group->telling = group->tell_at = 0;
	weir_chains_add(&coordinator->by_id, group->id, (uint32_t)(group - coordinator->groups));
	memset(group->members, 0, coordinator->members_max * sizeof(*group->members));
	return 0;
}

// The shards end the members' terms when the group is removed there; all members have left.
static int teardown(struct weir_coordinator *coordinator, struct group *group)
{
	if (!group)
		return -ENOENT;
	for (uint32_t i = 0; i < group->members_used; i++) {
		if (group->members[i].session.id)
			left_send(group, &group->members[i]);
	}
	weir_wheel_cancel(weir_engine_wheel(coordinator->engine), &group->timer);
	chunks_free(group);
	busy_unmark(group);
	weir_chains_remove(&coordinator->by_id, group->id, (uint32_t)(group - coordinator->groups));
	group->id = 0;
	return 0;
}

void weir_coordinator_message(struct weir_coordinator *coordinator, const struct weir_message *message, uint64_t now_ns)
{
	struct group *group = group_find(coordinator, message->group);
	switch (message->kind) {
	case WEIR_MESSAGE_GROUP_SETUP:
		done_send(coordinator, message, setup(coordinator, message, now_ns));
		return;
	case WEIR_MESSAGE_GROUP_TEARDOWN:
		done_send(coordinator, message, teardown(coordinator, group));
		return;
	case WEIR_MESSAGE_MEMBER_JOIN:
		member_join(coordinator, group, message);
		return;
	case WEIR_MESSAGE_MEMBER_LEAVE:
		member_leave(coordinator, group, message);
		return;
	default:
		break;
	}
	if (!group)
		return;
	if (message->kind == WEIR_MESSAGE_MEMBER_GONE)
		member_gone(group, message);
	else if (message->kind == WEIR_MESSAGE_RELEASED)
		released(group, message, now_ns);
	else if (message->kind == WEIR_MESSAGE_STALLED)
		stalled(group, message, now_ns);
	else if (message->kind == WEIR_MESSAGE_MEMBER_WORKING)
		working(group, message, now_ns);
	else if (message->kind == WEIR_MESSAGE_RETURNED)
		returned(group, message, now_ns);
}

uint64_t weir_coordinator_need(const struct weir_engine_config *config)
{
	uint64_t members = (uint64_t)config->groups_max * config->members_max;

	return sizeof(struct weir_coordinator) + config->groups_max * sizeof(struct group) + members * sizeof(struct member) +
	       (config->groups_max + CHUNKS_EXTRA) * sizeof(struct chunk);
}

int weir_coordinator_create(struct weir_coordinator **coordinator, struct weir_engine *engine,
			    const struct weir_engine_config *config)
{
	if (config->members_max >= NOBODY)
		return -EINVAL;
	struct weir_coordinator *fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	uint32_t chunks = config->groups_max + CHUNKS_EXTRA;
	fresh->engine = engine;
	fresh->groups_max = config->groups_max;
	fresh->members_max = config->members_max;
	fresh->groups = calloc(config->groups_max, sizeof(*fresh->groups));
	fresh->members = calloc((size_t)config->groups_max * config->members_max, sizeof(*fresh->members));
	fresh->chunks = calloc(chunks, sizeof(*fresh->chunks));
	fresh->chains = calloc(1, weir_chains_need(config->groups_max));
	if (!fresh->groups || !fresh->members || !fresh->chunks || !fresh->chains) {
		weir_coordinator_destroy(fresh);
		return -ENOMEM;
	}
	TAILQ_INIT(&fresh->busy);
	weir_chains_init(&fresh->by_id, fresh->chains, config->groups_max);
	// The worker that joins members to a group must not fault.
	for (size_t at = 0; at < (size_t)config->groups_max * config->members_max * sizeof(*fresh->members); at += 4096)
		((volatile uint8_t *)fresh->members)[at] = 0;
	for (uint32_t i = 0; i < config->groups_max; i++) {
		fresh->groups[i].coordinator = fresh;
		fresh->groups[i].members = &fresh->members[(size_t)i * config->members_max];
		fresh->groups[i].timer.fire = fire;
	}
	for (uint32_t i = chunks; i > 0; i--) {
		fresh->chunks[i - 1].next = fresh->free;
		fresh->free = &fresh->chunks[i - 1];
	}
	*coordinator = fresh;
	return 0;
}

void weir_coordinator_destroy(struct weir_coordinator *coordinator)
{
	if (!coordinator)
		return;
	free(coordinator->groups);
	free(coordinator->members);
	free(coordinator->chunks);
	free(coordinator->chains);
	free(coordinator);
}
