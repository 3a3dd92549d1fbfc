// The guard's life on an interface: attached and gone without a trace, taken over from the killed, never in the place of
// a stranger; and what it says when the host lacks something.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/internal.h"
#include "tests/bpf/sandbox.h"
#include "wire/reason.h"

#define PINS WEIR_GUARD_PIN_ROOT "/one/" INTERFACE

static void begin(void)
{
	sandbox_enter();
	sandbox_veth(1, 1500);
}

TestSuite(attach, .init = begin);

static bool has_word(const char *text, const char *word)
{
	return strstr(text, word) != NULL;
}

// Opens and expects the refusal, whose text names each of the words.
static void expect_refusal(const struct weir_guard_config *config, int code, const char *const words[])
{
	char error[WEIR_GUARD_ERROR_SIZE] = "";
	struct weir_guard *guard = NULL;
	int got = weir_guard_open(&guard, config, error);
	cr_assert(got == code, "%d instead of %d: %s", got, code, error);
	cr_assert(guard == NULL);
	for (; *words; words++)
		cr_expect(has_word(error, *words), "no '%s' in: %s", *words, error);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

// A child that opens the guard and then sleeps until it is killed.
static pid_t holder_start(const struct weir_guard_config *config)
{
	int ready[2];
	char byte = 0;
	cr_assert(pipe(ready) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct weir_guard *guard = NULL;
		if (weir_guard_open(&guard, config, NULL) != 0 || write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert(pid > 0);
	close(ready[1]);
	cr_assert(read(ready[0], &byte, 1) == 1, "the child could not open the guard");
	close(ready[0]);
	return pid;
}

static void holder_kill(pid_t pid)
{
	cr_assert(kill(pid, SIGKILL) == 0);
	cr_assert(waitpid(pid, NULL, 0) == pid);
}

Test(attach, a_clean_close_leaves_nothing_behind)
{
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_info info;
	struct weir_guard *guard = sandbox_guard(&config);
	weir_guard_describe(guard, &info);
	cr_assert(info.mode == WEIR_GUARD_NATIVE && !info.has_taken_over);
	cr_assert(sandbox_program(INTERFACE) == info.program_id);
	cr_assert(sandbox_exists(PINS "/link") && sandbox_exists(PINS "/totals") && sandbox_exists(PINS "/topics"));
	weir_guard_close(guard);
	cr_assert(sandbox_program(INTERFACE) == 0);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, two_interfaces_of_an_instance_do_not_disturb_each_other)
{
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_config peer = sandbox_config();
	peer.interface = PEER;
	struct weir_guard *first = sandbox_guard(&config);
	struct weir_guard *second = sandbox_guard(&peer);
	weir_guard_close(first);
	cr_assert(sandbox_program(INTERFACE) == 0);
	cr_assert(sandbox_program(PEER) != 0);
	cr_assert(sandbox_exists(WEIR_GUARD_PIN_ROOT "/one/" PEER "/link"));
	weir_guard_close(second);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, names_with_a_dot_get_pins)
{
	struct weir_guard_config config = sandbox_config();
	config.instance = "edge.one";
	sandbox_run("ip link set " INTERFACE " down && ip link set " INTERFACE " name weir0.7 && ip link set weir0.7 up");
	config.interface = "weir0.7";
	struct weir_guard *guard = sandbox_guard(&config);
	cr_assert(sandbox_exists(WEIR_GUARD_PIN_ROOT "/edge:one/weir0:7/link"));
	weir_guard_close(guard);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, a_killed_holder_is_taken_over)
{
	struct weir_guard_config config = sandbox_config();
	pid_t pid = holder_start(&config);
	uint32_t before = sandbox_program(INTERFACE);
	holder_kill(pid);
	cr_assert(before != 0 && sandbox_program(INTERFACE) == before, "the program must outlive its holder");
	struct weir_guard_info info;
	struct weir_guard *guard = sandbox_guard(&config);
	weir_guard_describe(guard, &info);
	cr_assert(info.has_taken_over);
	cr_assert(info.program_id != before && sandbox_program(INTERFACE) == info.program_id);
	struct packet packet = packet_frame(9347, WEIR_KIND_PING, 0, 0);
	cr_assert(packet_verdict(weir_guard_trial(guard), INTERFACE, 0, &packet) == XDP_DROP);
	struct xsk *xsk = xsk_open(INTERFACE, 0);
	cr_assert(weir_guard_check(guard, 0, NULL) == 0);
	xsk_close(xsk);
	weir_guard_close(guard);
	cr_assert(sandbox_program(INTERFACE) == 0);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, killed_again_and_again_it_comes_back)
{
	struct weir_guard_config config = sandbox_config();
	for (int i = 0; i < 20; i++)
		holder_kill(holder_start(&config));
	weir_guard_close(sandbox_guard(&config));
	cr_assert(sandbox_program(INTERFACE) == 0);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

// No packet may find the interface without a program while the next start takes over: what is weir's never reaches the
// kernel, which would answer it with "port unreachable". The kernel counts every IP packet that it gets to see (InReceives).
Test(attach, there_is_no_gap_while_taking_over)
{
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_totals totals = {};
	struct packet packet = packet_frame(9347, WEIR_KIND_PING, 0, 0);
	holder_kill(holder_start(&config));
	pid_t sender = fork();
	if (sender == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			packet_send(&packet, UINT32_MAX);
	}
	for (int i = 0; i < 20; i++) {
		usleep(1000);
		holder_kill(holder_start(&config));
	}
	struct weir_guard *guard = sandbox_guard(&config);
	usleep(10000);
	cr_expect(weir_guard_read(guard, &totals) == 0);
	holder_kill(sender);
	cr_expect(totals.dropped[WEIR_R_NO_SOCKET] > 0);
	sandbox_run("awk '/^Ip: [0-9]/ { exit $4 != 0 }' /proc/net/snmp");
	weir_guard_close(guard);
	// The judge is not blind: without the guard the kernel counts it.
	packet_send(&packet, 1);
	usleep(10000);
	sandbox_run("awk '/^Ip: [0-9]/ { exit $4 == 0 }' /proc/net/snmp");
}

Test(attach, a_living_holder_of_the_same_instance_is_not_disturbed)
{
	struct weir_guard_config config = sandbox_config();
	pid_t pid = holder_start(&config);
	uint32_t before = sandbox_program(INTERFACE);
	expect_refusal(&config, -EBUSY, WORDS(INTERFACE, "'one'", "another process"));
	cr_assert(sandbox_program(INTERFACE) == before);
	cr_assert(sandbox_exists(PINS "/link"));
	holder_kill(pid);
}

Test(attach, another_instance_is_refused_by_name)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_config other = sandbox_config();
	other.instance = "two.b";
	struct weir_guard *guard = sandbox_guard(&other);
	uint32_t before = sandbox_program(INTERFACE);
	expect_refusal(&config, -EBUSY, WORDS(INTERFACE, "'two.b'"));
	cr_assert(weir_guard_probe(&config, error) == -EBUSY && has_word(error, "'two.b'"), "%s", error);
	cr_assert(sandbox_program(INTERFACE) == before);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT "/one"));
	weir_guard_close(guard);
}

Test(attach, the_pins_of_another_killed_instance_are_not_taken)
{
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_config other = sandbox_config();
	other.instance = "two";
	holder_kill(holder_start(&other));
	expect_refusal(&config, -EBUSY, WORDS("'two'"));
	cr_assert(sandbox_exists(WEIR_GUARD_PIN_ROOT "/two/" INTERFACE "/link"));
	weir_guard_close(sandbox_guard(&other));
	weir_guard_close(sandbox_guard(&config));
}

Test(attach, a_foreign_program_is_refused_by_name_and_stays)
{
	char id[32];
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	int fd = sandbox_stranger("stranger");
	cr_assert(bpf_xdp_attach((int)if_nametoindex(INTERFACE), fd, XDP_FLAGS_DRV_MODE, NULL) == 0);
	uint32_t before = sandbox_program(INTERFACE);
	snprintf(id, sizeof(id), "id %u", before);
	expect_refusal(&config, -EBUSY, WORDS(INTERFACE, "'stranger'", id, "kernel"));
	cr_assert(weir_guard_probe(&config, error) == -EBUSY && has_word(error, "'stranger'"), "%s", error);
	cr_assert(sandbox_program(INTERFACE) == before);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, a_foreign_generic_program_is_refused_too)
{
	struct weir_guard_config config = sandbox_config();
	int fd = sandbox_stranger("generic_one");
	cr_assert(bpf_xdp_attach((int)if_nametoindex(INTERFACE), fd, XDP_FLAGS_SKB_MODE, NULL) == 0);
	uint32_t before = sandbox_program(INTERFACE);
	expect_refusal(&config, -EBUSY, WORDS("'generic_one'"));
	cr_assert(sandbox_program(INTERFACE) == before);
}

// libxdp's own default program has our program's name: only the pinned link tells whose it is.
Test(attach, a_foreign_link_is_refused_even_under_our_programs_name)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
	struct weir_guard_config config = sandbox_config();
	int fd = sandbox_stranger("xsk_def_prog");
	cr_assert(bpf_link_create(fd, (int)if_nametoindex(INTERFACE), BPF_XDP, &options) >= 0);
	uint32_t before = sandbox_program(INTERFACE);
	expect_refusal(&config, -EBUSY, WORDS("'xsk_def_prog'", "somebody else"));
	cr_assert(sandbox_program(INTERFACE) == before);
}

Test(attach, pins_of_an_interface_that_is_gone_are_cleared)
{
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_info info;
	holder_kill(holder_start(&config));
	sandbox_run("ip link del " INTERFACE);
	sandbox_veth(1, 1500);
	struct weir_guard *guard = sandbox_guard(&config);
	weir_guard_describe(guard, &info);
	cr_assert(!info.has_taken_over);
	cr_assert(sandbox_program(INTERFACE) == info.program_id);
	weir_guard_close(guard);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

// Whatever the next start of the instance is configured for: another interface, or none.
Test(attach, what_a_killed_holder_left_elsewhere_is_swept_away)
{
	static const char *const keep[] = { PEER };
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_config peer = sandbox_config();
	struct weir_guard_info info;
	peer.interface = PEER;
	holder_kill(holder_start(&config));
	holder_kill(holder_start(&peer));
	cr_assert(weir_guard_sweep("one", NULL, keep, 1, error) == 0, "%s", error);
	cr_assert(has_word(error, INTERFACE) && !has_word(error, PEER), "%s", error);
	cr_assert(sandbox_program(INTERFACE) == 0 && !sandbox_exists(PINS));
	struct weir_guard *guard = sandbox_guard(&peer);
	weir_guard_describe(guard, &info);
	cr_assert(info.has_taken_over, "what is kept is taken over without a gap");
	cr_assert(weir_guard_sweep("one", NULL, NULL, 0, error) == -EBUSY, "a living holder is not disturbed: %s", error);
	cr_assert(sandbox_program(PEER) == info.program_id);
	weir_guard_close(guard);
	cr_assert(weir_guard_sweep("one", NULL, NULL, 0, error) == 0 && error[0] == 0, "%s", error);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, only_leftovers_of_the_same_instance_are_swept_away)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config other = sandbox_config();
	other.instance = "two";
	holder_kill(holder_start(&other));
	uint32_t before = sandbox_program(INTERFACE);
	cr_assert(weir_guard_sweep("one", NULL, NULL, 0, error) == 0 && error[0] == 0, "%s", error);
	cr_assert(before != 0 && sandbox_program(INTERFACE) == before);
	cr_assert(weir_guard_sweep("two", NULL, NULL, 0, error) == 0);
	cr_assert(sandbox_program(INTERFACE) == 0 && !sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

// Renamed, it is the same interface with the old program.
Test(attach, an_interface_that_was_renamed_is_taken_after_a_sweep)
{
	static const char *const keep[] = { "weir7" };
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	holder_kill(holder_start(&config));
	sandbox_run("ip link set " INTERFACE " down && ip link set " INTERFACE " name weir7 && ip link set weir7 up");
	config.interface = "weir7";
	cr_assert(weir_guard_sweep("one", NULL, keep, 1, error) == 0, "%s", error);
	struct weir_guard *guard = sandbox_guard(&config);
	weir_guard_close(guard);
	cr_assert(sandbox_program("weir7") == 0 && !sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, libxdp_puts_its_sockets_into_the_guards_map)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	struct weir_guard *guard = sandbox_guard(&config);
	uint32_t before = sandbox_program(INTERFACE);
	cr_assert(weir_guard_check(guard, 0, error) == -ENOTCONN, "%s", error);
	struct xsk *xsk = xsk_open(INTERFACE, 0);
	cr_assert(weir_guard_check(guard, 0, error) == 0, "%s", error);
	cr_assert(sandbox_program(INTERFACE) == before);
	xsk_close(xsk);
	cr_assert(sandbox_program(INTERFACE) == before, "closing the last socket must not detach the guard");
	cr_assert(weir_guard_check(guard, 0, error) == -ENOTCONN);
	weir_guard_close(guard);
}

Test(attach, a_guard_removed_by_force_is_noticed)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	struct weir_guard *guard = sandbox_guard(&config);
	int link = bpf_obj_get(PINS "/link");
	cr_assert(link >= 0 && bpf_link_detach(link) == 0);
	cr_assert(weir_guard_check(guard, 0, error) == -EIO && has_word(error, INTERFACE), "%s", error);
	close(link);
	weir_guard_close(guard);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

// ---- Tags beside packets ----

// Features of a veth can be switched as those of a NIC, although its peer decides.
Test(attach, tags_that_an_interface_takes_out_are_left_inside_and_taken_out_again)
{
	char error[WEIR_GUARD_ERROR_SIZE] = "";
	int switched = 0;
	cr_assert(weir_tags_look(INTERFACE) == WEIR_GUARD_TAGS_BESIDE);
	cr_assert(weir_tags_keep(INTERFACE, &switched, error) == 0, "%s", error);
	cr_assert(switched == 3 && weir_tags_look(INTERFACE) == WEIR_GUARD_TAGS_INSIDE);
	sandbox_run("ethtool -k " INTERFACE " | grep -q 'rx-vlan-offload: off'");
	weir_tags_restore(INTERFACE, switched);
	sandbox_run("ethtool -k " INTERFACE " | grep -q 'rx-vlan-offload: on'");
	sandbox_run("ethtool -K " INTERFACE " rxvlan off rx-vlan-stag-hw-parse off");
	cr_assert(weir_tags_keep(INTERFACE, &switched, error) == 0 && switched == 0, "%s", error);
	cr_assert(weir_tags_keep("nosuch0", &switched, error) < 0);
	cr_assert(has_word(error, "nosuch0") && has_word(error, "ethtool -K nosuch0 rxvlan off"), "%s", error);
}

// ---- An interface that goes and comes back ----

Test(attach, a_guard_is_put_onto_an_interface_that_was_made_again)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	struct weir_guard *guard = sandbox_guard(&config);
	struct weir_guard_totals totals;
	struct packet packet = packet_frame(9347, WEIR_KIND_PING, 0, 0);
	packet_verdict(weir_guard_trial(guard), INTERFACE, 0, &packet);
	sandbox_run("ip link del " INTERFACE);
	weir_guard_detach(guard);
	cr_assert(!sandbox_exists(PINS "/link") && sandbox_exists(PINS "/totals"));
	cr_assert(weir_guard_attach(guard, error) == -ENODEV && has_word(error, INTERFACE), "%s", error);
	sandbox_veth(1, 1500);
	cr_assert(weir_guard_attach(guard, error) == 0, "%s", error);
	cr_assert(sandbox_exists(PINS "/link"));
	struct xsk *xsk = xsk_open(INTERFACE, 0);
	cr_assert(weir_guard_check(guard, 0, error) == 0, "%s", error);
	packet_send(&packet, 1);
	uint8_t bytes[PACKET_SIZE_MAX];
	cr_assert(xsk_receive(xsk, bytes, sizeof(bytes)) == packet.size);
	cr_assert(weir_guard_read(guard, &totals) == 0);
	cr_assert(totals.dropped[WEIR_R_NO_SOCKET] == 1 && totals.kinds[WEIR_KIND_PING].frames == 1, "counters go on");
	xsk_close(xsk);
	weir_guard_close(guard);
	cr_assert(sandbox_program(INTERFACE) == 0 && !sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, a_guard_does_not_come_back_over_a_stranger)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	struct weir_guard *guard = sandbox_guard(&config);
	int fd = sandbox_stranger("stranger");
	weir_guard_detach(guard);
	cr_assert(sandbox_program(INTERFACE) == 0);
	cr_assert(bpf_xdp_attach((int)if_nametoindex(INTERFACE), fd, XDP_FLAGS_DRV_MODE, NULL) == 0);
	cr_assert(weir_guard_attach(guard, error) == -EBUSY && has_word(error, "'stranger'"), "%s", error);
	cr_assert(bpf_xdp_detach((int)if_nametoindex(INTERFACE), XDP_FLAGS_DRV_MODE, NULL) == 0);
	cr_assert(weir_guard_attach(guard, error) == 0, "%s", error);
	weir_guard_close(guard);
	cr_assert(sandbox_program(INTERFACE) == 0 && !sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

// ---- What the host may lack ----

Test(attach, a_driver_without_native_xdp_is_said_so_and_generic_mode_is_by_leave)
{
	struct weir_guard_config config = sandbox_config();
	struct weir_guard_info info;
	config.interface = "lo";
	expect_refusal(&config, -EOPNOTSUPP, WORDS("lo", "native", "kernel"));
	cr_assert(sandbox_program("lo") == 0);
	config.is_generic_allowed = true;
	struct weir_guard *guard = sandbox_guard(&config);
	weir_guard_describe(guard, &info);
	cr_assert(info.mode == WEIR_GUARD_GENERIC);
	weir_guard_close(guard);
	cr_assert(sandbox_program("lo") == 0);
}

Test(attach, a_killed_generic_guard_is_replaced)
{
	struct weir_guard_config config = sandbox_config();
	config.interface = "lo";
	config.is_generic_allowed = true;
	holder_kill(holder_start(&config));
	struct weir_guard *guard = sandbox_guard(&config);
	weir_guard_close(guard);
	cr_assert(sandbox_program("lo") == 0);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, a_missing_interface_is_named)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	config.interface = "nosuch0";
	expect_refusal(&config, -ENODEV, WORDS("nosuch0", "no such"));
	cr_assert(weir_guard_probe(&config, error) == -ENODEV && has_word(error, "nosuch0"), "%s", error);
}

Test(attach, a_missing_bpffs_is_named_with_the_mount_command)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	while (umount("/sys/fs/bpf") == 0)
		;
	expect_refusal(&config, -ENOENT, WORDS("mount -t bpf bpf /sys/fs/bpf"));
	cr_assert(weir_guard_probe(&config, error) == -ENOENT && has_word(error, "mount -t bpf"), "%s", error);
	cr_assert(sandbox_program(INTERFACE) == 0);
}

Test(attach, too_large_an_mtu_is_named_with_the_limit)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	sandbox_run("ip link set " PEER " mtu 9000 && ip link set " INTERFACE " mtu 9000");
	expect_refusal(&config, -ERANGE, WORDS(INTERFACE, "MTU 9000", "3498"));
	cr_assert(weir_guard_probe(&config, error) == -ERANGE && has_word(error, "MTU 9000"), "%s", error);
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}

Test(attach, the_largest_mtu_is_accepted)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_config config = sandbox_config();
	sandbox_run("ip link set " PEER " mtu 3498 && ip link set " INTERFACE " mtu 3498");
	cr_assert(weir_guard_probe(&config, error) == 0, "%s", error);
	weir_guard_close(sandbox_guard(&config));
}

struct said {
	int open;
	int probe;
	char error[WEIR_GUARD_ERROR_SIZE];
};

Test(attach, no_permission_is_named_with_the_capabilities)
{
	struct weir_guard_config config = sandbox_config();
	struct said said = {};
	int result[2];
	cr_assert(pipe(result) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct weir_guard *guard = NULL;
		if (setuid(65534) != 0)
			_exit(1);
		said.probe = weir_guard_probe(&config, said.error);
		said.open = weir_guard_open(&guard, &config, said.error);
		_exit(write(result[1], &said, sizeof(said)) != sizeof(said));
	}
	close(result[1]);
	cr_assert(read(result[0], &said, sizeof(said)) == sizeof(said));
	waitpid(pid, NULL, 0);
	cr_assert(said.open == -EPERM && said.probe == -EPERM, "%d %d %s", said.open, said.probe, said.error);
	cr_assert(has_word(said.error, "CAP_BPF") && has_word(said.error, "root"), "%s", said.error);
}

Test(attach, a_config_that_cannot_be_is_refused_before_anything_happens)
{
	struct weir_guard_config config = sandbox_config();
	config.instance = "../one";
	expect_refusal(&config, -EINVAL, WORDS("'../one'"));
	config = sandbox_config();
	config.workers = 0;
	expect_refusal(&config, -EINVAL, WORDS("workers"));
	config = sandbox_config();
	config.port_base = 65535;
	expect_refusal(&config, -EINVAL, WORDS("65535"));
	cr_assert(!sandbox_exists(WEIR_GUARD_PIN_ROOT));
}
