// Tables on stdout, at most 100 columns wide where names are short. Nothing is computed here that --json does not also say:
// what people see can always be had by a program.
#include "control/ctl/show.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "control/ctl/text.h"

#define TOPICS_SHOWN 50u // where topics are folded

static void show_warnings(const json_t *object)
{
	size_t index;
	json_t *warning;

	json_array_foreach(json_object_get(object, "warnings"), index, warning)
		printf("warning: %s\n", json_string_value(warning));
}

static const char *or_dash(const char *text)
{
	return text[0] ? text : "-";
}

// ---- status ----

static void show_workers(const json_t *workers)
{
	size_t index;
	json_t *worker;

	printf("\n%-6s %4s %4s %5s %5s %5s %8s %8s %6s %6s %6s %6s %6s  %s\n", "worker", "core", "node", "busy", "idle",
	       "sleep", "recv/s", "sent/s", "sess", "shards", "logs", "L2", "L3", "refused");
	json_array_foreach(workers, index, worker)
	{
		printf("%-6zu %4d %4d %5s %5s %5s %8s %8s %6s %6d %6s %6s %6s  %s\n", index,
		       (int)weir_json_number(worker, "core"), (int)weir_json_number(worker, "node"),
		       weir_text_ratio(weir_json_real(worker, "busy_ratio")).bytes,
		       weir_text_ratio(weir_json_real(worker, "idle_ratio")).bytes,
		       weir_text_ratio(weir_json_real(worker, "sleep_ratio")).bytes,
		       weir_text_count(weir_json_real(worker, "received_per_second")).bytes,
		       weir_text_count(weir_json_real(worker, "sent_per_second")).bytes,
		       weir_text_count(weir_json_real(worker, "sessions")).bytes, (int)weir_json_number(worker, "shards"),
		       weir_text_bytes(weir_json_number(worker, "log_bytes")).bytes,
		       weir_text_bytes(weir_json_number(worker, "l2_bytes")).bytes,
		       weir_text_bytes(weir_json_number(worker, "l3_bytes")).bytes,
		       weir_text_reasons(json_object_get(worker, "refused")).bytes);
	}
	json_array_foreach(workers, index, worker) printf("  worker %zu: %s\n", index, weir_json_text(worker, "reason"));
}

static void show_port(const json_t *port)
{
	const json_t *xdp = json_object_get(port, "xdp");
	const char *place = weir_json_text(port, "interface");
	size_t index;
	json_t *queue;

	if (!place[0])
		place = weir_json_text(port, "device");
	if (!place[0])
		place = weir_json_text(port, "socket");
	if (!place[0])
		place = weir_json_text(port, "address");
	json_array_foreach(json_object_get(port, "queues"), index, queue)
	{
		printf("%-12s %-7s %-20.20s %-4s %5d %5d %6d %6d %8s %8s  %s\n", weir_json_text(port, "name"),
		       weir_json_text(port, "kind"), place, json_is_true(json_object_get(queue, "link")) ? "up" : "down",
		       (int)weir_json_number(queue, "udp_port"),
		       (int)weir_json_number(queue, "queue"), (int)weir_json_number(queue, "worker"),
		       (int)weir_json_number(queue, "mtu"), weir_text_count(weir_json_real(queue, "received")).bytes,
		       weir_text_count(weir_json_real(queue, "sent")).bytes,
		       weir_text_reasons(json_object_get(queue, "dropped")).bytes);
	}
	if (json_is_object(xdp))
		printf("  xdp: %s frames, %s events, %s bytes to weir; %s packets to the kernel; dropped: %s\n",
		       weir_text_count(weir_json_real(xdp, "frames")).bytes,
		       weir_text_count(weir_json_real(xdp, "events")).bytes,
		       weir_text_bytes(weir_json_number(xdp, "bytes")).bytes,
		       weir_text_count(weir_json_real(xdp, "passed")).bytes,
		       weir_text_reasons(json_object_get(xdp, "drops")).bytes);
}

static void show_ports(const json_t *ports)
{
	size_t index;
	json_t *port;

	printf("\n%-12s %-7s %-20s %-4s %5s %5s %6s %6s %8s %8s  %s\n", "port", "kind", "where", "link", "udp", "queue",
	       "worker", "mtu", "received", "sent", "dropped");
	json_array_foreach(ports, index, port) show_port(port);
}

static void show_lanes(const json_t *lanes)
{
	size_t index;
	json_t *lane;

	if (json_array_size(lanes) == 0)
		return;
	printf("\n%-8s %-20s %8s %6s %8s %7s %8s %8s %8s %8s\n", "lane", "client", "pid", "worker", "memory", "readers",
	       "received", "sent", "dropped", "lost");
	json_array_foreach(lanes, index, lane)
	{
		printf("%-8llu %-20.20s %8d %6d %8s %7d %8s %8s %8s %8s\n",
		       (unsigned long long)weir_json_number(lane, "lane"), or_dash(weir_json_text(lane, "name")),
		       (int)weir_json_number(lane, "pid"), (int)weir_json_number(lane, "worker"),
		       weir_text_bytes(weir_json_number(lane, "memory_bytes")).bytes, (int)weir_json_number(lane, "readers"),
		       weir_text_count(weir_json_real(lane, "received")).bytes,
		       weir_text_count(weir_json_real(lane, "sent")).bytes,
		       weir_text_count(weir_json_real(lane, "dropped")).bytes,
		       weir_text_count(weir_json_real(lane, "lost")).bytes);
	}
}

static void show_deliveries(const json_t *shards)
{
	size_t index;
	json_t *shard;

	if (json_array_size(shards) == 0)
		return;
	printf("    %5s %-9s %-18s %5s %12s %8s %8s %8s  %s\n", "shard", "state", "member", "term", "settled to", "lag",
	       "credit", "resent", "dropped");
	json_array_foreach(shards, index, shard)
	{
		printf("    %5d %-9s %-18s %5u %12llu %8s %8s %8s  %s\n", (int)weir_json_number(shard, "shard"),
		       weir_json_text(shard, "state"), or_dash(weir_json_text(shard, "session")),
		       (unsigned)weir_json_number(shard, "term"), (unsigned long long)weir_json_number(shard, "settled_to"),
		       weir_text_count(weir_json_real(shard, "held")).bytes,
		       weir_text_bytes(weir_json_number(shard, "credit_bytes")).bytes,
		       weir_text_count(weir_json_real(shard, "resent")).bytes,
		       weir_text_reasons(json_object_get(shard, "dropped")).bytes);
	}
}

static void show_group(const json_t *group)
{
	printf("  group %s (%s): %d members, lag %s, %s/s settled, redelivered %s\n", weir_json_text(group, "group"),
	       weir_json_text(group, "kind"), (int)weir_json_number(group, "members"),
	       weir_text_count(weir_json_real(group, "lag")).bytes,
	       weir_text_count(weir_json_real(group, "settled_per_second")).bytes,
	       weir_text_count(weir_json_real(group, "redelivered")).bytes);
	show_deliveries(json_object_get(group, "shards"));
}

static void show_owners(const json_t *owners)
{
	size_t index;
	json_t *owner;

	if (json_array_size(owners) == 0)
		return;
	printf("  %5s %6s %-9s %12s %8s %6s %7s %7s %5s  %s\n", "shard", "worker", "node", "head", "rate/s", "held", "streams",
	       "waiting", "moves", "refused");
	json_array_foreach(owners, index, owner)
	{
		char node[24];

		snprintf(node, sizeof(node), "%d%s", (int)weir_json_number(owner, "node"),
			 json_is_true(json_object_get(owner, "remote")) ? " remote" : "");
		printf("  %5d %6d %-9s %12llu %8s %6s %7s %7s %5s  %s\n", (int)weir_json_number(owner, "shard"),
		       (int)weir_json_number(owner, "worker"), node, (unsigned long long)weir_json_number(owner, "head"),
		       weir_text_count(weir_json_real(owner, "accepted_per_second")).bytes,
		       weir_text_bytes(weir_json_number(owner, "held_bytes")).bytes,
		       weir_text_count(weir_json_real(owner, "streams")).bytes,
		       weir_text_count(weir_json_real(owner, "waiters")).bytes,
		       weir_text_count(weir_json_real(owner, "moves")).bytes,
		       weir_text_reasons(json_object_get(owner, "refused")).bytes);
	}
}

static void show_topic(const json_t *topic)
{
	size_t index;
	json_t *group;

	printf("\ntopic %s: %d shards, policy %s, ack %s, event_max %s, log %s a shard, %s/s\n",
	       weir_json_text(topic, "topic"), (int)weir_json_number(topic, "shards"), weir_json_text(topic, "policy"),
	       weir_json_text(topic, "ack"),
	       weir_text_bytes(weir_json_number(topic, "event_max")).bytes,
	       weir_text_bytes(weir_json_number(topic, "log_bytes")).bytes,
	       weir_text_count(weir_json_real(topic, "accepted_per_second")).bytes);
	if (json_is_true(json_object_get(topic, "folded")))
		printf("  all shards: accepted %s, held %s, %s streams, %s waiting; %d in trouble, %zu of them shown\n",
		       weir_text_count(weir_json_real(topic, "accepted")).bytes,
		       weir_text_bytes(weir_json_number(topic, "held_bytes")).bytes,
		       weir_text_count(weir_json_real(topic, "streams")).bytes,
		       weir_text_count(weir_json_real(topic, "waiters")).bytes, (int)weir_json_number(topic, "troubles"),
		       json_array_size(json_object_get(topic, "owners")));
	show_owners(json_object_get(topic, "owners"));
	json_array_foreach(json_object_get(topic, "groups"), index, group) show_group(group);
}

static uint64_t troubles_of(const json_t *topic)
{
	uint64_t troubles = weir_json_number(topic, "troubles");
	size_t index;
	json_t *group;

	json_array_foreach(json_object_get(topic, "groups"), index, group) troubles += weir_json_number(group, "troubles");
	return troubles;
}

// Of many topics those in trouble first, and not more than a person reads.
static void show_topics(const json_t *topics)
{
	bool is_folded = json_is_true(json_object_get(json_array_get(topics, 0), "folded"));
	size_t shown = 0;

	for (int round = 0; round < (is_folded ? 2 : 1); round++) {
		size_t index;
		json_t *topic;

		json_array_foreach(topics, index, topic)
		{
			if (is_folded && ((troubles_of(topic) > 0) != (round == 0) || shown == TOPICS_SHOWN))
				continue;
			show_topic(topic);
			shown++;
		}
	}
	if (is_folded)
		printf("\n%zu of %zu topics, their shards in trouble alone. --topic NAME shows one, --all everything\n", shown,
		       json_array_size(topics));
}

void weir_show_status(const json_t *status)
{
	printf("weir %s, instance %s, pid %d, up %s, revision %d, poll %s, %d sessions\n", weir_json_text(status, "version"),
	       weir_json_text(status, "instance"), (int)weir_json_number(status, "pid"),
	       weir_text_duration((uint64_t)(weir_json_real(status, "uptime_seconds") * 1e9)).bytes,
	       (int)weir_json_number(status, "revision"), weir_json_text(status, "poll"),
	       (int)weir_json_number(status, "sessions"));
	show_warnings(status);
	show_workers(json_object_get(status, "workers"));
	show_ports(json_object_get(status, "ports"));
	show_lanes(json_object_get(status, "lanes"));
	show_topics(json_object_get(status, "topics"));
}

// ---- ledger ----

static void show_unexplained(const json_t *row)
{
	json_int_t unexplained = json_integer_value(json_object_get(row, "unexplained"));

	if (unexplained)
		printf("    UNEXPLAINED %lld%s%s\n", (long long)unexplained, weir_json_text(row, "reason")[0] ? ": " : "",
		       weir_json_text(row, "reason"));
}

static void show_worker_rows(const json_t *rows)
{
	size_t index;
	json_t *row;

	printf("frames: received = handed on + refused\n  %-6s %14s %14s  %s\n", "worker", "received", "handed on", "refused");
	json_array_foreach(rows, index, row)
	{
		printf("  %-6d %14llu %14llu  %s\n", (int)weir_json_number(row, "worker"),
		       (unsigned long long)weir_json_number(row, "received"),
		       (unsigned long long)weir_json_number(row, "handed_on"),
		       weir_text_reasons(json_object_get(row, "refused")).bytes);
		show_unexplained(row);
	}
}

static void show_shard_rows(const json_t *rows)
{
	size_t index;
	json_t *row;

	printf("events: offered = accepted + duplicate + refused + skipped\n  %-20s %5s %14s %14s %10s  %s\n", "topic", "shard",
	       "offered", "accepted", "duplicate", "refused; skipped");
	json_array_foreach(rows, index, row)
	{
		printf("  %-20.20s %5d %14llu %14llu %10llu  %s; %s\n", weir_json_text(row, "topic"),
		       (int)weir_json_number(row, "shard"), (unsigned long long)weir_json_number(row, "offered"),
		       (unsigned long long)weir_json_number(row, "accepted"),
		       (unsigned long long)weir_json_number(row, "duplicate"),
		       weir_text_reasons(json_object_get(row, "refused")).bytes,
		       weir_text_reasons(json_object_get(row, "skipped")).bytes);
		show_unexplained(row);
	}
}

static void show_group_rows(const json_t *rows)
{
	size_t index;
	json_t *row;

	printf("deliveries: head - start = settled + held + dropped\n  %-28s %5s %12s %12s %12s %8s  %s\n", "topic/group",
	       "shard", "start", "head", "settled", "held", "dropped");
	json_array_foreach(rows, index, row)
	{
		char name[160];

		snprintf(name, sizeof(name), "%s/%s", weir_json_text(row, "topic"), weir_json_text(row, "group"));
		printf("  %-28.28s %5d %12llu %12llu %12llu %8llu  %s\n", name, (int)weir_json_number(row, "shard"),
		       (unsigned long long)weir_json_number(row, "start_offset"),
		       (unsigned long long)weir_json_number(row, "head"), (unsigned long long)weir_json_number(row, "settled"),
		       (unsigned long long)weir_json_number(row, "held"),
		       weir_text_reasons(json_object_get(row, "dropped")).bytes);
		show_unexplained(row);
	}
}

void weir_show_ledger(const json_t *ledger)
{
	show_worker_rows(json_object_get(ledger, "workers"));
	printf("  in the mesh between workers: %lld\n",
	       (long long)json_integer_value(json_object_get(json_object_get(ledger, "totals"), "in_mesh")));
	show_shard_rows(json_object_get(ledger, "shards"));
	show_group_rows(json_object_get(ledger, "groups"));
	printf("unexplained %llu\n", (unsigned long long)weir_json_number(ledger, "unexplained"));
}

// ---- plan, apply ----

static void show_change(const json_t *change)
{
	const char *group = weir_json_text(change, "group");

	printf("  %s", weir_json_text(change, "change"));
	if (weir_json_text(change, "topic")[0])
		printf(" %s%s%s", weir_json_text(change, "topic"), group[0] ? "/" : "", group);
	if (json_is_integer(json_object_get(change, "shard")))
		printf(" shard %d: worker %d -> %d", (int)weir_json_number(change, "shard"),
		       (int)weir_json_number(change, "from"), (int)weir_json_number(change, "to"));
	if (json_is_integer(json_object_get(change, "pause_ns")))
		printf(", paused %s", weir_text_duration(weir_json_number(change, "pause_ns")).bytes);
	if (json_array_size(json_object_get(change, "starts"))) {
		size_t index;
		json_t *start;

		printf(", begins at");
		json_array_foreach(json_object_get(change, "starts"), index, start)
			printf(" %lld", (long long)json_integer_value(start));
	}
	printf("\n");
}

static void show_changes(const json_t *changes)
{
	size_t index;
	json_t *change;

	json_array_foreach(changes, index, change) show_change(change);
}

void weir_show_outcome(const json_t *outcome)
{
	size_t count = json_array_size(json_object_get(outcome, "changes"));

	show_changes(json_object_get(outcome, "changes"));
	if (count == 0)
		printf("nothing to change, revision %d\n", (int)weir_json_number(outcome, "revision"));
	else
		printf("%zu changes in %s, longest pause of a shard %s, revision %d\n", count,
		       weir_text_duration(weir_json_number(outcome, "duration_ns")).bytes,
		       weir_text_duration(weir_json_number(outcome, "pause_max_ns")).bytes,
		       (int)weir_json_number(outcome, "revision"));
}

static void show_plan_topics(const json_t *topics)
{
	size_t index;
	json_t *topic;

	json_array_foreach(topics, index, topic)
	{
		size_t shard;
		json_t *owner;

		printf("topic %s: shard:worker", weir_json_text(topic, "topic"));
		json_array_foreach(json_object_get(topic, "owners"), shard, owner)
			printf(" %zu:%d", shard, (int)weir_json_number(owner, "worker"));
		printf("\n");
	}
}

void weir_show_plan(const json_t *plan)
{
	size_t index;
	json_t *item;

	json_array_foreach(json_object_get(plan, "workers"), index, item)
		printf("worker %zu: %s; node %d, %d shards, logs %s (L2 %s, L3 %s)\n", index, weir_json_text(item, "reason"),
		       (int)weir_json_number(item, "node"), (int)weir_json_number(item, "shards"),
		       weir_text_bytes(weir_json_number(item, "log_bytes")).bytes,
		       weir_text_bytes(weir_json_number(item, "l2_bytes")).bytes,
		       weir_text_bytes(weir_json_number(item, "l3_bytes")).bytes);
	json_array_foreach(json_object_get(plan, "ports"), index, item)
		printf("port %s (%s): %s\n", weir_json_text(item, "name"), weir_json_text(item, "kind"),
		       weir_json_text(item, "reason"));
	show_plan_topics(json_object_get(plan, "topics"));
	show_changes(json_object_get(plan, "changes"));
	show_warnings(plan);
}
