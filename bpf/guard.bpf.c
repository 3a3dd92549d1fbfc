// The XDP guard of an AF_XDP port: the first to see a packet on the interface.
#include "bpf/judge.h"

SEC("xdp")
int xsk_def_prog(struct xdp_md *ctx)
{
	return weir_judge(ctx, NULL);
}

char _license[] SEC("license") = "Dual BSD/GPL";
