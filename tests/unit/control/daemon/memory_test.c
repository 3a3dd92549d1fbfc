// Free memory as the kernel's files tell it: a node's file and the machine's do not have the same lines, and names are
// the beginnings of other names.
#include <criterion/criterion.h>

#include "control/daemon/memory.h"

Test(memory, the_machines_file_says_what_can_be_had)
{
	struct weir_memory memory;

	weir_memory_parse("MemTotal:       24682416 kB\nMemFree:        22564112 kB\nMemAvailable:   22731516 kB\n"
			  "HugePages_Total:     512\nHugePages_Free:      500\nHugePages_Rsvd:        0\n",
			  &memory);
	cr_assert_eq(memory.available, 22731516ull << 10);
	cr_assert_eq(memory.hugepages, 500ull << 21);
}

Test(memory, a_nodes_file_is_summed_from_free_and_file_pages)
{
	struct weir_memory memory;

	weir_memory_parse("Node 1 MemTotal:  24682416 kB\nNode 1 MemFree:      1000 kB\nNode 1 Active:   142656 kB\n"
			  "Node 1 Active(anon): 5 kB\nNode 1 Active(file):  20 kB\nNode 1 Inactive(file):  3 kB\n"
			  "Node 1 HugePages_Total:   7\nNode 1 HugePages_Free:    2\n",
			  &memory);
	cr_assert_eq(memory.available, 1023ull << 10);
	cr_assert_eq(memory.hugepages, 4ull << 20);
}

Test(memory, this_machine_can_be_read)
{
	struct weir_memory memory;

	cr_assert_eq(weir_memory_read(0, &memory), 0);
	cr_assert_gt(memory.available, 1u << 20);
}
