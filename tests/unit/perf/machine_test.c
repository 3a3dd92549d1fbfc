// Facts are those of this machine, checked against what the C library and the kernel say; the placement is what the status
// says, and what is no status is refused.
#include "perf/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <criterion/criterion.h>

Test(machine, tells_kernel_cores_memory_and_versions)
{
	static struct weir_result_facts facts;
	struct utsname name;
	cr_assert_eq(weir_machine_facts(&facts), 0);
	cr_assert_eq(uname(&name), 0);
	cr_assert_eq(strncmp(weir_result_fact(&facts, "kernel"), name.release, strlen(name.release)), 0);
	cr_assert_eq(atol(weir_result_fact(&facts, "cores")), sysconf(_SC_NPROCESSORS_ONLN));
	double kib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1024;
	cr_assert_float_eq(atof(weir_result_fact(&facts, "memory")), kib, kib * 0.1);
	cr_assert_not_null(weir_result_fact(&facts, "cpu"));
	cr_assert_not_null(strstr(weir_result_fact(&facts, "hugepages"), " of "));
	cr_assert_not_null(weir_result_fact(&facts, "weirperf"));
	for (uint32_t i = 0; i < facts.count; i++)
		cr_assert_neq(facts.all[i].value[0], '\0', "%s is empty", facts.all[i].name);
}

Test(machine, says_how_the_router_is_placed)
{
	static const char STATUS[] =
		"{\"version\":\"0.1.0\",\"instance\":\"a\",\"poll\":\"always\","
		"\"workers\":[{\"worker\":0,\"core\":3,\"node\":1,"
		"\"shards\":4,\"log_bytes\":4194304,\"l2_bytes\":2097152,\"l3_bytes\":33554432,"
		"\"reason\":\"named\"}],"
		"\"ports\":[{\"name\":\"p\",\"kind\":\"kernel\",\"interface\":null,\"address\":\"10.0.0.1\",\"udp_port\":9347,"
		"\"integrity\":\"full\",\"queues\":[{}]}],"
		"\"topics\":[{\"topic\":\"t\",\"shards\":4,\"log_bytes\":1048576,\"policy\":\"block\","
		"\"ack\":\"routed\",\"groups\":[]}]}";
	static struct weir_result_facts facts;
	cr_assert_eq(weir_machine_placement(&facts, STATUS), 0);
	cr_assert_str_eq(weir_result_fact(&facts, "worker 0"),
			 "core 3, node 1, 4 shards, logs 4096 KiB (L2 2048 KiB, L3 32768 KiB): named");
	cr_assert_not_null(strstr(weir_result_fact(&facts, "port p"), "UDP port 9347"));
	cr_assert_str_eq(weir_result_fact(&facts, "topic t"), "4 shards of 1024 KiB, policy block, ack routed, 0 groups");
	cr_assert_eq(weir_machine_placement(&facts, "{}"), -EINVAL);
	cr_assert_eq(weir_machine_placement(&facts, "weirctl: no answer"), -EINVAL);
}
