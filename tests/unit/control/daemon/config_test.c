// The topology file: what is accepted, which default fills a gap, and where and in which words each mistake is reported.
// The sample that operators start from is read here too, so that it cannot rot.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon/config.h"

#define PORT "ports: [{name: front, kind: kernel}]\n"

static struct weir_topology *parse(const char *text)
{
	struct weir_topology *topology = NULL;
	struct weir_trouble trouble = { 0 };
	char message[1024];
	int err = weir_config_parse(&topology, text, strlen(text), &trouble);

	weir_trouble_text(&trouble, "t", message, sizeof(message));
	cr_assert_eq(err, 0, "%s", message);
	return topology;
}

Test(config, the_smallest_file_takes_every_default)
{
	struct weir_topology *topology = parse(PORT);

	cr_assert_str_eq(topology->instance, "weir");
	cr_assert_eq(topology->control_mode, 0660);
	cr_assert_eq(topology->lanes_per_worker, 256);
	cr_assert_eq(topology->lanes_mode, 0660);
	cr_assert_eq(topology->pin_timeout_ns, 0);
	cr_assert_eq(topology->poll, WEIR_POLL_ADAPTIVE);
	cr_assert_eq(topology->idle_sleep_max_ns, 1000000);
	cr_assert_eq(topology->hugepages, WEIR_TOPOLOGY_HUGEPAGES_PREFER);
	cr_assert_eq(topology->worker_count, 1);
	cr_assert_eq(topology->workers[0].core, -1);
	cr_assert_eq(topology->port_count, 1);
	cr_assert_str_eq(topology->ports[0].address, "0.0.0.0");
	cr_assert_eq(topology->ports[0].udp_port, 9347);
	cr_assert_eq(topology->ports[0].worker_count, 1);
	cr_assert_eq(topology->limits.frame_size, 1472);
	cr_assert_eq(topology->limits.lease_ns, 5000000000ull);
	cr_assert_eq(topology->topic_count, 0);
	weir_topology_destroy(topology);
}

Test(config, every_key_reaches_its_field)
{
	struct weir_topology *topology =
		parse("instance: east\n"
		      "control: {mode: \"0666\"}\n"
		      "lanes: {per_worker: 7, socket_mode: \"0622\"}\n"
		      "poll: always\n"
		      "idle_sleep_max: 250us\n"
		      "hugepages: require\n"
		      "workers: [{core: 3}, {core: auto}]\n"
		      "ports:\n"
		      "  - {name: a, kind: afxdp, interface: eth1, udp_port: 9000, workers: [1, 0], integrity: link}\n"
		      "  - {name: d, kind: dpdk, device: 'net_null0,size=64', address: '10.0.0.1'}\n"
		      "  - {name: v, kind: vhost, socket: /run/weir/v.vhost, address: '10.0.1.1', workers: [0, 1]}\n"
		      "  - {name: k, kind: kernel, address: '::1', udp_port: 7000}\n"
		      "limits: {sessions_per_worker: 32, streams_per_shard: 7, park_frames: 16, "
		      "reassembly_slots: 3, members_per_group: 9, window_frames: 11, frame_size: 9000, "
		      "ping: 20ms, lease: 1m, dedup_window: 2h}\n"
		      "topics:\n"
		      "  - name: positions\n"
		      "    shards: 3\n"
		      "    policy: drop-old\n"
		      "    ack: none\n"
		      "    event_max: 4096\n"
		      "    log: 2GiB\n"
		      "    homes: {2: 1}\n"
		      "    groups:\n"
		      "      - {name: g, kind: follow, mode: keyed, start: earliest, quota: 1MiB, progress_timeout: 0s}\n");
	const struct weir_topology_topic *topic = weir_topology_find(topology, "positions");
	const struct weir_topology_group *group;

	cr_assert_str_eq(topology->instance, "east");
	cr_assert_eq(topology->control_mode, 0666);
	cr_assert_eq(topology->lanes_per_worker, 7);
	cr_assert_eq(topology->lanes_mode, 0622);
	cr_assert_eq(topology->poll, WEIR_POLL_ALWAYS);
	cr_assert_eq(topology->idle_sleep_max_ns, 250000);
	cr_assert_eq(topology->hugepages, WEIR_TOPOLOGY_HUGEPAGES_REQUIRE);
	cr_assert_eq(topology->worker_count, 2);
	cr_assert_eq(topology->workers[0].core, 3);
	cr_assert_eq(topology->workers[1].core, -1);
	cr_assert_eq(topology->ports[0].kind, WEIR_TOPOLOGY_PORT_AFXDP);
	cr_assert_str_eq(topology->ports[0].interface, "eth1");
	cr_assert_eq(topology->ports[0].udp_port, 9000);
	cr_assert_eq(topology->ports[0].worker_count, 2);
	cr_assert_eq(topology->ports[0].workers[0], 1);
	cr_assert_eq(topology->ports[0].integrity, WEIR_INTEGRITY_LINK);
	cr_assert_str_eq(topology->ports[1].device, "net_null0,size=64");
	cr_assert_eq(topology->ports[1].worker_count, 1);
	cr_assert_eq(topology->ports[2].kind, WEIR_TOPOLOGY_PORT_VHOST);
	cr_assert_str_eq(topology->ports[2].socket, "/run/weir/v.vhost");
	cr_assert_eq(topology->ports[2].worker_count, 2);
	cr_assert_str_eq(topology->ports[3].address, "::1");
	cr_assert_eq(topology->ports[3].worker_count, 2);
	cr_assert_eq(topology->limits.sessions_per_worker, 32);
	cr_assert_eq(topology->limits.streams_per_shard, 7);
	cr_assert_eq(topology->limits.members_per_group, 9);
	cr_assert_eq(topology->limits.window_frames, 11);
	cr_assert_eq(topology->limits.frame_size, 9000);
	cr_assert_eq(topology->limits.ping_ns, 20000000);
	cr_assert_eq(topology->limits.lease_ns, 60000000000ull);
	cr_assert_eq(topology->limits.dedup_window_ns, 7200000000000ull);
	cr_assert_not_null(topic);
	cr_assert_eq(topic->shards, 3);
	cr_assert_eq(topic->policy, WEIR_POLICY_DROP_OLD);
	cr_assert_eq(topic->ack, WEIR_ACK_NONE);
	cr_assert_eq(topic->event_max, 4096);
	cr_assert_eq(topic->log_bytes, 2ull << 30);
	cr_assert_eq(topic->homes[0], -1);
	cr_assert_eq(topic->homes[2], 1);
	group = weir_topology_find_group(topic, "g");
	cr_assert_not_null(group);
	cr_assert_eq(group->kind, WEIR_TOPOLOGY_GROUP_FOLLOW);
	cr_assert_eq(group->start, WEIR_TOPOLOGY_START_EARLIEST);
	cr_assert_eq(group->quota_bytes, 1u << 20);
	cr_assert_eq(group->progress_timeout_ns, 0);
	cr_assert_eq(group->mark.line, 23);
	weir_topology_destroy(topology);
}

static uint32_t streams_of(const char *topics)
{
	struct weir_topology *topology = parse(topics);
	uint32_t streams = topology->limits.streams_per_shard;

	weir_topology_destroy(topology);
	return streams;
}

Test(config, thousands_of_shards_share_the_places_for_streams)
{
	cr_expect_eq(streams_of(PORT "topics: [{name: a, shards: 1024}]\n"), 1024);
	cr_expect_eq(streams_of(PORT "topics: [{name: a, shards: 1024}, {name: b, shards: 1024}]\n"), 512);
	cr_expect_eq(streams_of(PORT "topics: [{name: a, shards: 4096}, {name: b, shards: 4096}, {name: c, shards: 4096},"
				     " {name: d, shards: 4096}, {name: e, shards: 4096}]\n"), 64);
	cr_expect_eq(streams_of(PORT "limits: {streams_per_shard: 1000}\ntopics: [{name: a, shards: 4096}]\n"), 1000,
		     "what was asked for");
}

Test(config, an_event_max_left_out_follows_a_small_log)
{
	struct weir_topology *topology = parse(PORT "topics: [{name: small, log: 64KiB}, {name: large, log: 8MiB}]\n");

	cr_assert_eq(topology->topics[0].event_max, 8192);
	cr_assert_eq(topology->topics[1].event_max, 65536);
	weir_topology_destroy(topology);
}

struct mistake {
	const char *text;
	uint32_t line;
	uint32_t column;
	const char *object; // of the complaint
	const char *says; // somewhere in the whole complaint
};

static const struct mistake MISTAKES[] = {
	{ "", 1, 1, "file", "it is empty" },
	{ "ports: [", 2, 1, "file", "parsing" },
	{ "ports:\n\t- a", 2, 1, "file", "cannot start any token" },
	{ "ports: []\n", 1, 8, "ports", "0 entries, expected a list of 1 to 32 ports" },
	{ "poll: always\n", 1, 1, "file", "key ports is missing" },
	{ PORT "--- \na: 1\n", 3, 1, "file", "a second one" },
	{ PORT "pole: always\n", 2, 1, "file", "unknown key, expected instance, control, lanes, poll" },
	{ PORT "poll: sometimes\n", 2, 7, "poll", "expected adaptive or always" },
	{ PORT "poll: always\npoll: always\n", 3, 1, "file", "a second time" },
	{ PORT "poll: [always]\n", 2, 7, "poll", "found a list" },
	{ PORT "instance: a/b\n", 2, 11, "instance", "expected a name" },
	{ PORT "control: {mode: 0999}\n", 2, 17, "control.mode", "octal" },
	{ PORT "idle_sleep_max: 5\n", 2, 17, "idle_sleep_max", "expected a duration" },
	{ PORT "workers: [{core: two}]\n", 2, 18, "workers[0].core", "auto or the number" },
	{ PORT "workers: [{core: -2}]\n", 2, 18, "workers[0].core", "auto or the number" },
	{ PORT "limits: {lease: 2s}\n", 2, 17, "limits.lease", "three times ping" },
	{ PORT "limits: {sessions_per_worker: 100}\n", 2, 31, "limits.sessions_per_worker", "power of two" },
	{ PORT "limits: {frame_size: 100}\n", 2, 22, "limits.frame_size", "from 512 to 9216" },
	{ "ports:\n- {kind: kernel}\n", 2, 3, "ports[0]", "key name is missing" },
	{ "ports:\n- {name: a, kind: afxdp}\n", 2, 3, "ports[0]", "key interface is missing" },
	{ "ports:\n- {name: a, kind: kernel, interface: lo}\n", 2, 38, "ports[0]", "kind kernel has no interface" },
	{ "ports:\n- {name: a, kind: vhost, address: 10.0.0.1}\n", 2, 3, "ports[0]", "key socket is missing" },
	{ "ports:\n- {name: a, kind: vhost, socket: /a}\n", 2, 3, "ports[0]", "key address is missing" },
	{ "ports:\n- {name: a, kind: kernel, socket: /a}\n", 2, 35, "ports[0]", "kind kernel has no socket" },
	{ "ports:\n- {name: a, kind: vhost, socket: a, address: 10.0.0.1}\n", 2, 34, "ports[0]", "absolute path" },
	{ "ports:\n- {name: a, kind: vhost, socket: '/a,b', address: 10.0.0.1}\n", 2, 34, "ports[0]", "without a comma" },
	{ "ports:\n- {name: a, kind: vhost, socket: /s, address: 10.0.0.1}\n"
	  "- {name: b, kind: vhost, socket: /s, address: 10.0.0.2}\n", 3, 3, "ports[1]", "port a listens there already" },
	{ "ports:\n- {name: a, kind: kernel, address: home}\n", 2, 36, "ports[0]", "IPv4 or IPv6" },
	{ "ports:\n- {name: a, kind: kernel, workers: [0, 1]}\n", 2, 40, "ports[0]", "there are 1 workers" },
	{ "ports:\n- {name: a, kind: afxdp, interface: a-name-too-long-for-linux}\n", 2, 37, "ports[0].interface", "1 to 15" },
	{ "ports:\n- {name: a, kind: kernel}\n- {name: a, kind: kernel, udp_port: 1}\n", 3, 10, "ports[1]", "name already" },
	{ "ports:\n- {name: a, kind: kernel}\n- {name: b, kind: kernel}\n", 3, 3, "ports[1]", "port a listens there already" },
	{ "workers: [{core: 0}, {core: 1}]\nports:\n- {name: a, kind: kernel, udp_port: 65535}\n", 3, 37, "ports[0]",
	  "beyond" },
	{ PORT "topics:\n- name: t\n  shards: 5000\n", 4, 11, "topics[0].shards", "from 1 to 4096" },
	{ PORT "topics:\n- name: t\n  log: 3MiB\n", 4, 8, "topics[0]", "power of two" },
	{ PORT "topics:\n- name: t\n  log: 32KiB\n", 4, 8, "topics[0].log", "power of two from 64KiB" },
	{ PORT "topics:\n- name: t\n  log: 1MB\n", 4, 8, "topics[0].log", "power of two from 64KiB" },
	{ PORT "topics:\n- name: t\n  log: 64KiB\n  event_max: 9000\n", 5, 14, "topics[0]", "an eighth of the log, 8192" },
	{ PORT "topics:\n- name: t\n  policy: drop\n", 4, 11, "topics[0].policy", "block, drop-new or drop-old" },
	{ PORT "topics:\n- name: t\n  ack: durable\n", 4, 8, "topics[0].ack", "none or routed" },
	{ PORT "topics:\n- name: t\n- name: u\n- name: t\n", 5, 9, "topics[2]", "topics[0] has this name already" },
	{ PORT "topics:\n- name: t\n  homes: {1: 0}\n", 4, 11, "topics[0].homes", "the topic has 1 shards" },
	{ PORT "topics:\n- name: t\n  homes: {0: 1}\n", 4, 14, "topics[0].homes", "there are 1 workers" },
	{ PORT "topics:\n- name: t\n  groups: [{name: g, quota: 64KiB}]\n", 4, 29, "topics[0].groups[0]",
	  "only a follow group" },
	{ PORT "topics:\n- name: t\n  groups: [{name: g, mode: any}]\n", 4, 28, "topics[0].groups[0].mode", "expected keyed" },
	{ PORT "topics:\n- name: t\n  groups: [{name: g}, {name: g}]\n", 4, 30, "topics[0].groups[1]", "name already" },
	{ PORT "topics:\n- name: t\n  groups: [{name: g, kind: follow, quota: 2MiB}]\n", 4, 43, "topics[0].groups[0]",
	  "at most" },
};

static void check_mistake(const struct mistake *mistake)
{
	struct weir_topology *topology = NULL;
	struct weir_trouble trouble = { 0 };
	char message[1024];
	int err = weir_config_parse(&topology, mistake->text, strlen(mistake->text), &trouble);

	weir_trouble_text(&trouble, "t", message, sizeof(message));
	cr_expect_lt(err, 0, "accepted: %s", mistake->text);
	cr_expect_null(topology);
	cr_expect_eq(trouble.mark.line, mistake->line, "%s\n%s", mistake->text, message);
	cr_expect_eq(trouble.mark.column, mistake->column, "%s\n%s", mistake->text, message);
	cr_expect_str_eq(trouble.object, mistake->object, "%s", message);
	cr_expect(strstr(message, mistake->says), "%s\nlacks: %s", message, mistake->says);
	cr_expect_neq(trouble.fix[0], 0);
}

Test(config, a_mistake_is_reported_where_it_stands)
{
	for (size_t i = 0; i < sizeof(MISTAKES) / sizeof(*MISTAKES); i++)
		check_mistake(&MISTAKES[i]);
}

Test(config, the_sample_topology_is_accepted_and_shows_the_defaults)
{
	struct weir_topology *defaults = parse(PORT "topics: [{name: positions, shards: 4}]\n");
	struct weir_topology *sample;
	struct weir_trouble trouble;
	size_t size;
	char *text;

	cr_assert_eq(weir_config_load(WEIR_SAMPLE, &text, &size, &trouble), 0);
	sample = parse(text);
	cr_assert_eq(memcmp(&sample->limits, &defaults->limits, sizeof(sample->limits)), 0);
	cr_assert_eq(sample->topics[0].event_max, defaults->topics[0].event_max);
	cr_assert_eq(sample->topics[0].log_bytes, defaults->topics[0].log_bytes);
	cr_assert_eq(sample->idle_sleep_max_ns, defaults->idle_sleep_max_ns);
	cr_assert_eq(sample->topics[0].group_count, 2);
	weir_topology_destroy(sample);
	weir_topology_destroy(defaults);
	free(text);
}

Test(config, a_file_that_is_not_there_is_named)
{
	struct weir_trouble trouble;
	size_t size;
	char *text;

	cr_assert_eq(weir_config_load("/nowhere/weir.yaml", &text, &size, &trouble), -ENOENT);
	cr_assert_str_eq(trouble.object, "file /nowhere/weir.yaml");
	cr_assert_str_eq(trouble.reason, "No such file or directory");
}
