// vlan-tag INTERFACE ID: from now on the interface is in a VLAN alone: what leaves it has the tag, beside the packet as a VLAN
// interface puts it there; what arrives loses its tag, and without one is dropped. For kernels without 8021q. It stays until
// the interface goes.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK 0   // TC_ACT_OK
#define SHOT 2 // TC_ACT_SHOT

static int load(const char *name, const struct bpf_insn *program, size_t size)
{
	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", program, size, NULL);
}

static int load_push(int tag)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = htons(ETH_P_8021Q) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = tag },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_skb_vlan_push },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = OK },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	return load("push", program, sizeof(program) / sizeof(*program));
}

static int load_pop(void)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_1,
		  .off = offsetof(struct __sk_buff, vlan_present) },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_2, .imm = 0, .off = 3 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_skb_vlan_pop },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = OK },
		{ .code = BPF_JMP | BPF_EXIT },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SHOT },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	return load("pop", program, sizeof(program) / sizeof(*program));
}

static int attach(int ifindex, enum bpf_tc_attach_point point, int program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1, .prog_fd = program);
	return program < 0 ? program : bpf_tc_attach(&hook, &options);
}

int main(int count, char **words)
{
	int ifindex = count == 3 ? (int)if_nametoindex(words[1]) : 0;
	if (ifindex == 0) {
		fprintf(stderr, "usage: vlan-tag INTERFACE ID\n");
		return 2;
	}
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int code = bpf_tc_hook_create(&hook);
	if (code == 0)
		code = attach(ifindex, BPF_TC_EGRESS, load_push(atoi(words[2])));
	if (code == 0)
		code = attach(ifindex, BPF_TC_INGRESS, load_pop());
	if (code)
		fprintf(stderr, "vlan-tag: %s: %s\n", words[1], strerror(-code));
	return code ? 1 : 0;
}
