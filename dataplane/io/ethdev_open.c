// Opens and closes DPDK devices: an AF_XDP device per queue of an interface, behind the interface's guard, or one device
// given by devargs with all its queues. Everything that is known to fail late or silently is checked before. Control thread.
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "bpf/guard.h"
#include "dataplane/core/memory.h"
#include "dataplane/io/ethdev.h"
#include "dataplane/io/interfaces.h"
#include "dataplane/io/vhost.h"

#define AFXDP_MTU_MAX 3498u   // with a VLAN tag, in one 4 KiB chunk
#define AFXDP_ROOM_MAX 3904u  // data room of such a chunk
#define AFXDP_HEADROOM 384u   // 128 of the buffer, 256 of XDP
#define ETHERNET_ROOM 22u     // header, VLAN tag, CRC
#define ROOM_LEAST 2176u
#define IPV4_HEAD 28u         // IP and UDP in front of a frame
#define DESCRIPTORS 1024u
#define POOL_CACHE 512u
#define FIX_MEMORY "reserve hugepages (echo 160 > /proc/sys/vm/nr_hugepages), or set hugepages: off"

// What opening a configured port carries along.
struct opening {
	const struct weir_port_config *config;
	const uint16_t *index;
	struct weir_ethdev_group *group;
	struct weir_fault *fault;
	char object[160]; // "port fast (interface veth0)"
	uint32_t mtu;
};

static int fail(const struct opening *opening, int error, const char *action, const char *fix)
{
	return weir_fault_set(opening->fault, error, opening->object, action, fix, "%s", strerror(-error));
}

// ---- What is ours on a port ----

static void derive_link_local(struct weir_packet_own *own, const uint8_t mac[6])
{
	static const uint8_t prefix[8] = { 0xfe, 0x80 };

	// RFC 4291, appendix A.
	memcpy(own->prefix6_local, prefix, 8);
	memcpy(own->prefix6_local + 8, mac, 3);
	own->prefix6_local[8] ^= 2;
	own->prefix6_local[11] = 0xff;
	own->prefix6_local[12] = 0xfe;
	memcpy(own->prefix6_local + 13, mac + 3, 3);
}

static int read_own(const struct opening *opening, struct weir_packet_own *own)
{
	const struct weir_port_config *config = opening->config;
	char text[INET6_ADDRSTRLEN + 8];
	char *slash;

	own->udp_first = config->udp_port;
	own->udp_count = config->worker_count;
	if (!config->address || !config->address[0] || strcmp(config->address, "0.0.0.0") == 0 ||
	    strcmp(config->address, "::") == 0)
		return 0;
	snprintf(text, sizeof(text), "%s", config->address);
	slash = strchr(text, '/');
	if (slash)
		*slash = 0;
	if (inet_pton(AF_INET, text, own->address4) == 1)
		own->has_address4 = true;
	else if (inet_pton(AF_INET6, text, own->address6) == 1)
		own->has_address6 = true;
	else
		return weir_fault_set(opening->fault, -EINVAL, opening->object, "read its address",
				      "use an IPv4 or IPv6 address, such as 10.0.0.1", "\"%s\" is neither", config->address);
	return 0;
}

// ---- Pools ----

// As rte_pktmbuf_pool_create(), without its padding between objects: an AF_XDP chunk is one object and has to fit a page.
static struct rte_mempool *create_pool(const char *name, uint32_t room, int node)
{
	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = (uint16_t)room };

	return rte_mempool_create(name, WEIR_ETHDEV_POOL, sizeof(struct rte_mbuf) + room, POOL_CACHE,
				  sizeof(struct rte_pktmbuf_pool_private), rte_pktmbuf_pool_init, &private, rte_pktmbuf_init,
				  NULL, node, RTE_MEMPOOL_F_NO_SPREAD);
}

static int give_pool(struct opening *opening, struct weir_ethdev *ethdev, uint32_t headroom)
{
	uint32_t room = (opening->mtu + ETHERNET_ROOM + headroom + 63u) & ~63u;
	char name[RTE_MEMPOOL_NAMESIZE];

	if (room < ROOM_LEAST)
		room = ROOM_LEAST;
	if (opening->config->kind == WEIR_PORT_AFXDP && room > AFXDP_ROOM_MAX)
		room = AFXDP_ROOM_MAX;
	snprintf(name, sizeof(name), "weir-%u-%u", ethdev->device, ethdev->queue);
	ethdev->pool = create_pool(name, room, opening->config->node < 0 ? SOCKET_ID_ANY : opening->config->node);
	return ethdev->pool ? 0 : fail(opening, -ENOMEM, "allocate its buffers", FIX_MEMORY);
}

// ---- AF_XDP sockets ----

#define SOCKETS_MAX 64u

// AF_XDP sockets of this process. The driver keeps its sockets to itself, but sleeping on one and asking it what it dropped
// needs nothing more than the descriptor.
static uint32_t list_sockets(int sockets[SOCKETS_MAX])
{
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;
	uint32_t count = 0;

	while (directory && count < SOCKETS_MAX && (entry = readdir(directory))) {
		int fd = atoi(entry->d_name);
		int domain = 0;
		socklen_t size = sizeof(domain);

		if (entry->d_name[0] != '.' && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_XDP)
			sockets[count++] = fd;
	}
	if (directory)
		closedir(directory);
	return count;
}

// The one that is there now and was not before; -1 when that is not exactly one.
static int new_socket(const int *before, uint32_t before_count)
{
	int after[SOCKETS_MAX];
	uint32_t after_count = list_sockets(after);
	int found = -1;

	for (uint32_t i = 0; i < after_count; i++) {
		bool is_new = true;

		for (uint32_t k = 0; k < before_count; k++)
			is_new &= after[i] != before[k];
		if (is_new && found >= 0)
			return -1;
		if (is_new)
			found = after[i];
	}
	return found;
}

static uint64_t inode_of(int fd)
{
	struct stat stat;

	return fd >= 0 && fstat(fd, &stat) == 0 ? stat.st_ino : 0;
}

// ---- Devices ----

static struct weir_ethdev *create_ethdev(struct opening *opening, uint16_t queue)
{
	const struct weir_port_config *config = opening->config;
	struct weir_ethdev *ethdev = weir_memory_get(sizeof(*ethdev), config->node);

	if (!ethdev)
		return NULL;
	ethdev->port = (struct weir_port){ .ops = &weir_ethdev_ops, .kind = config->kind, .queue = queue,
					   .index = opening->index[queue], .worker = config->workers[queue],
					   .udp_port = (uint16_t)(config->udp_port + config->workers[queue]), .fd = -1,
					   .trust_link = config->trust_link };
	snprintf(ethdev->port.name, sizeof(ethdev->port.name), "%s", config->name);
	ethdev->group = opening->group;
	ethdev->group->references++;
	ethdev->socket = -1;
	return ethdev;
}

static void set_mtu(struct opening *opening, struct weir_ethdev *ethdev)
{
	uint32_t frame_max = opening->mtu - IPV4_HEAD;

	ethdev->port.mtu = opening->mtu;
	ethdev->port.frame_max = frame_max < WEIR_FRAME_MAX ? frame_max : WEIR_FRAME_MAX;
}

// Behind the guard every packet is for us.
static void know_ports(const struct opening *opening, struct weir_ethdev *ethdev)
{
	ethdev->own.udp_first = opening->config->udp_port;
	ethdev->own.udp_count = opening->config->worker_count;
}

static int know_address(struct opening *opening, struct weir_ethdev *ethdev)
{
	struct rte_ether_addr mac;
	int error = read_own(opening, &ethdev->own);

	if (error)
		return error;
	error = rte_eth_macaddr_get(ethdev->device, &mac);
	if (error)
		return fail(opening, error, "ask for its MAC address", "use another device");
	memcpy(ethdev->mac, mac.addr_bytes, 6);
	ethdev->own.has_mac = true;
	memcpy(ethdev->own.mac, mac.addr_bytes, 6);
	derive_link_local(&ethdev->own, ethdev->mac);
	return 0;
}

static int start_afxdp(struct opening *opening, struct weir_ethdev *ethdev)
{
	struct rte_eth_conf conf = { 0 };
	int before[SOCKETS_MAX];
	uint32_t before_count = list_sockets(before);
	int error = rte_eth_dev_configure(ethdev->device, 1, 1, &conf);

	if (!error)
		error = rte_eth_rx_queue_setup(ethdev->device, 0, 2 * DESCRIPTORS, SOCKET_ID_ANY, NULL, ethdev->pool);
	if (!error)
		error = rte_eth_tx_queue_setup(ethdev->device, 0, 2 * DESCRIPTORS, SOCKET_ID_ANY, NULL);
	if (!error)
		error = rte_eth_dev_start(ethdev->device);
	if (error)
		return weir_fault_set(opening->fault, error, opening->object, "bind its AF_XDP socket",
				      "check that the interface has this queue (ethtool -l) and nobody else has a socket on "
				      "it, or use a kernel port",
				      "queue %u: %s", ethdev->port.queue, strerror(-error));
	ethdev->socket = new_socket(before, before_count);
	ethdev->socket_inode = inode_of(ethdev->socket);
	ethdev->port.fd = ethdev->socket;
	return 0;
}

static void device_name(char name[64], const char *interface, uint16_t queue)
{
	snprintf(name, 64, "net_af_xdp_%s_%u", interface, queue);
}

static int open_afxdp_queue(struct opening *opening, struct weir_ethdev *ethdev)
{
	const char *interface = opening->config->interface;
	char name[64], arguments[128], text[WEIR_GUARD_ERROR_SIZE];
	int error;

	device_name(name, interface, ethdev->port.queue);
	snprintf(arguments, sizeof(arguments), "iface=%s,start_queue=%u,queue_count=1,busy_budget=0", interface,
		 ethdev->port.queue);
	error = rte_eal_hotplug_add("vdev", name, arguments);
	if (error || rte_eth_dev_get_port_by_name(name, &ethdev->device) != 0)
		return fail(opening, error ? error : -ENODEV, "make its AF_XDP device",
			    "install librte-net-af-xdp23, or use a kernel port");
	ethdev->owns_device = true;
	error = give_pool(opening, ethdev, AFXDP_HEADROOM);
	if (!error)
		error = start_afxdp(opening, ethdev);
	if (error)
		return error;
	know_ports(opening, ethdev);
	error = weir_guard_check(opening->group->guard, ethdev->port.queue, text);
	if (error)
		return weir_fault_set(opening->fault, error, opening->object, "check that frames reach its socket",
				      "use a kernel port and report this", "%s", text);
	ethdev->port.guard = opening->group->guard;
	return 0;
}

void weir_ethdev_own(const struct weir_port_config *config, int ifindex, struct weir_guard_own *own, uint32_t *left_out)
{
	struct opening opening = { .config = config };
	struct weir_packet_own fixed = { 0 };
	bool is_fixed = read_own(&opening, &fixed) == 0 && (fixed.has_address4 || fixed.has_address6);

	*left_out = weir_interfaces_own(config->interfaces, ifindex, own);
	if (!is_fixed)
		return;
	*left_out = 0;
	own->address4_count = fixed.has_address4;
	own->address6_count = fixed.has_address6;
	memcpy(&own->addresses4[0], fixed.address4, sizeof(own->addresses4[0]));
	memcpy(own->addresses6[0], fixed.address6, sizeof(own->addresses6[0]));
}

// Opens the guard, or puts the one there is onto the interface again.
static int open_guard(struct opening *opening)
{
	const struct weir_port_config *config = opening->config;
	struct weir_ethdev_group *group = opening->group;
	struct weir_packet_own fixed = { 0 };
	char text[WEIR_GUARD_ERROR_SIZE] = { 0 };
	int error = read_own(opening, &fixed);

	if (error)
		return error;
	weir_ethdev_own(config, group->ifindex, &group->own, &group->left_out);
	struct weir_guard_config guard = { .interface = config->interface, .instance = config->instance,
					   .port_base = config->udp_port, .workers = config->worker_count,
					   .is_link_trusted = config->trust_link,
					   .is_generic_allowed = config->allow_generic, .own = group->own };
	if (group->guard)
		weir_guard_set_own(group->guard, &group->own);
	error = group->guard ? weir_guard_attach(group->guard, text) : weir_guard_open(&group->guard, &guard, text);
	if (error)
		return weir_fault_set(opening->fault, error, opening->object, "attach its XDP guard",
				      "do what the reason asks for, or use a kernel port", "%s", text);
	return 0;
}

// Receive queues that the interface spreads packets over, 0: it does not say.
static uint32_t interface_queues(const char *interface)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq request = { .ifr_data = (void *)&channels };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return 0;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	error = ioctl(fd, SIOCETHTOOL, &request);
	close(fd);
	return error ? 0 : channels.rx_count + channels.combined_count;
}

// Every queue needs a socket: frames on one without would be dropped, one producer in so many.
static int check_queues(struct opening *opening)
{
	const struct weir_port_config *config = opening->config;
	uint32_t queues = interface_queues(config->interface);
	char fix[160];

	if (queues == 0 || queues == config->queues)
		return 0;
	snprintf(fix, sizeof(fix),
		 "name a worker for each queue (workers: [0, ...], one may poll several), or change their number (ethtool -L "
		 "%s)",
		 config->interface);
	return weir_fault_set(opening->fault, -EINVAL, opening->object, "give its queues to workers", fix,
			      "the interface has %u receive queues, the port names workers for %u", queues, config->queues);
}

static int check_afxdp(struct opening *opening)
{
	const struct weir_port_config *config = opening->config;
	const struct weir_interface *interface =
		config->interface ? weir_interfaces_named(config->interfaces, config->interface) : NULL;

	if (!interface)
		return weir_fault_set(opening->fault, -ENODEV, opening->object, "find its interface",
				      "name an interface that `ip link` shows", "this host has no such interface");
	if (interface->mtu > AFXDP_MTU_MAX)
		return weir_fault_set(opening->fault, -ERANGE, opening->object, "use AF_XDP on its interface",
				      "set the MTU to 3498 or less (ip link set ... mtu 3498), or use a kernel port",
				      "its MTU is %u, and AF_XDP buffers carry at most %u", interface->mtu, AFXDP_MTU_MAX);
	opening->mtu = interface->mtu;
	opening->group->ifindex = interface->index;
	opening->group->mtu = interface->mtu;
	if (rte_eth_dev_count_avail() + config->queues > RTE_MAX_ETHPORTS)
		return weir_fault_set(opening->fault, -ENOSPC, opening->object, "make its devices",
				      "use fewer DPDK ports and queues", "DPDK here knows at most %d devices",
				      RTE_MAX_ETHPORTS);
	return check_queues(opening);
}

// What libbpf, libxdp and the driver say about sockets and programs is expected or in the fault; nobody needs it twice.
static int hush_bpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

static int hush_xdp(enum libxdp_print_level level, const char *format, va_list arguments)
{
	return 0;
}

static int open_afxdp(struct weir_port **ports, struct opening *opening)
{
	int error = check_afxdp(opening);

	if (error)
		return error;
	libbpf_set_print(hush_bpf);
	libxdp_set_print(hush_xdp);
	rte_log_set_level_pattern("pmd.net.af_xdp", RTE_LOG_CRIT);
	error = open_guard(opening);
	for (uint16_t queue = 0; !error && queue < opening->config->queues; queue++) {
		struct weir_ethdev *ethdev = ports[queue] ? (struct weir_ethdev *)ports[queue] : create_ethdev(opening, queue);

		if (!ethdev)
			return fail(opening, -ENOMEM, "allocate it", "free some memory");
		ports[queue] = &ethdev->port;
		set_mtu(opening, ethdev);
		error = open_afxdp_queue(opening, ethdev);
	}
	return error;
}

// The buffers that the driver keeps for good go with their pool. It also leaves its socket open, which keeps the queue from the
// next one.
static void shut_queue(struct weir_ethdev *ethdev)
{
	char name[RTE_ETH_NAME_MAX_LEN];

	if (ethdev->owns_device && rte_eth_dev_get_name_by_port(ethdev->device, name) == 0) {
		rte_eth_dev_stop(ethdev->device);
		rte_eal_hotplug_remove("vdev", name);
	}
	if (ethdev->socket >= 0 && inode_of(ethdev->socket) == ethdev->socket_inode)
		close(ethdev->socket);
	rte_mempool_free(ethdev->pool);
	ethdev->owns_device = false;
	ethdev->pool = NULL;
	ethdev->socket = -1;
	ethdev->port.fd = -1;
}

void weir_ethdev_afxdp_shut(struct weir_port *const queues[], uint16_t count)
{
	for (uint16_t queue = 0; queue < count; queue++)
		shut_queue((struct weir_ethdev *)queues[queue]);
	weir_guard_detach(((struct weir_ethdev *)queues[0])->group->guard);
}

int weir_ethdev_afxdp_reopen(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_fault *fault)
{
	struct weir_port *ports[WEIR_WORKERS_MAX];
	struct opening opening = { .config = config, .fault = fault,
				   .group = ((struct weir_ethdev *)queues[0])->group };
	int error;

	weir_ethdev_object(config, opening.object);
	memcpy(ports, queues, config->queues * sizeof(ports[0]));
	error = open_afxdp(ports, &opening);
	if (error)
		weir_ethdev_afxdp_shut(queues, config->queues);
	return error;
}

// ---- Any other device ----

// A vhost device starts its thread here. It takes locks that workers spin on: it must not wait for a core longer than they do.
// A thread begins with the priority of who starts it. Without the right to raise it, it stays what it is, like the worker's.
static int start_threads(const struct opening *opening, uint16_t device, uint16_t queues, const struct rte_eth_conf *conf)
{
	int before = getpriority(PRIO_PROCESS, 0);
	bool is_raised = opening->config->nice < before && setpriority(PRIO_PROCESS, 0, opening->config->nice) == 0;
	int error = rte_eth_dev_configure(device, queues, queues, conf);

	if (is_raised)
		setpriority(PRIO_PROCESS, 0, before);
	return error;
}

static int configure_device(struct opening *opening, uint16_t device, uint16_t queues)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf = { 0 };
	int error = rte_eth_dev_info_get(device, &info);

	if (error)
		return fail(opening, error, "ask for its abilities", "use another device");
	if (queues > info.max_rx_queues || queues > info.max_tx_queues)
		return weir_fault_set(opening->fault, -ENOSPC, opening->object, "make its queues", "name fewer workers for it",
				      "%u queues are asked for, it has %u to receive and %u to send", queues,
				      info.max_rx_queues, info.max_tx_queues);
	if (queues > 1) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);
	}
	error = start_threads(opening, device, queues, &conf);
	return error ? fail(opening, error, "configure it", "check its devargs") : 0;
}

static int setup_queue(struct opening *opening, struct weir_ethdev *ethdev)
{
	uint16_t receive = DESCRIPTORS, send = DESCRIPTORS;
	int error = give_pool(opening, ethdev, RTE_PKTMBUF_HEADROOM);

	if (error)
		return error;
	error = rte_eth_dev_adjust_nb_rx_tx_desc(ethdev->device, &receive, &send);
	if (!error)
		error = rte_eth_rx_queue_setup(ethdev->device, ethdev->queue, receive, SOCKET_ID_ANY, NULL, ethdev->pool);
	if (!error)
		error = rte_eth_tx_queue_setup(ethdev->device, ethdev->queue, send, SOCKET_ID_ANY, NULL);
	return error ? fail(opening, error, "set its queues up", "check its devargs, or free hugepages")
		     : know_address(opening, ethdev);
}

static int probe_device(struct opening *opening, uint16_t *device)
{
	const char *devargs = opening->config->device;
	char name[RTE_ETH_NAME_MAX_LEN];
	int error;

	if (!devargs || !devargs[0])
		return weir_fault_set(opening->fault, -EINVAL, opening->object, "find its device",
				      "give devargs, such as 0000:01:00.0 or net_vhost0,iface=/run/weir/vm.sock",
				      "none is given");
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(devargs, ","), devargs);
	if (strncmp(name, "net_memif", 9) == 0)
		return weir_fault_set(opening->fault, -EOPNOTSUPP, opening->object, "use memif", "use net_vhost instead",
				      "its driver ends the process when a client dies");
	error = weir_vhost_prepare(devargs, opening->object, opening->fault);
	if (error)
		return error;
	error = rte_dev_probe(devargs);
	if (error || rte_eth_dev_get_port_by_name(name, device) != 0)
		return weir_fault_set(opening->fault, error ? error : -ENODEV, opening->object, "find its device",
				      "check the devargs; a PCI device has to be bound to vfio-pci (dpdk-devbind.py -s)",
				      "DPDK does not find or cannot open \"%s\"", devargs);
	return 0;
}

static int open_device(struct weir_port **ports, struct opening *opening)
{
	uint16_t queues = opening->config->queues;
	uint16_t device, mtu;
	int error = probe_device(opening, &device);

	if (error)
		return error;
	for (uint16_t queue = 0; queue < queues; queue++) {
		struct weir_ethdev *ethdev = create_ethdev(opening, queue);

		if (!ethdev) {
			if (queue == 0)
				rte_eth_dev_close(device);
			return fail(opening, -ENOMEM, "allocate it", "free some memory");
		}
		ports[queue] = &ethdev->port;
		ethdev->device = device;
		ethdev->queue = queue;
		ethdev->owns_device = queue == 0; // closed last
		ethdev->is_responder = true;
	}
	error = configure_device(opening, device, queues);
	if (!error && rte_eth_dev_get_mtu(device, &mtu) == 0)
		opening->mtu = mtu;
	for (uint16_t queue = 0; !error && queue < queues; queue++) {
		set_mtu(opening, (struct weir_ethdev *)ports[queue]);
		error = setup_queue(opening, (struct weir_ethdev *)ports[queue]);
	}
	if (error)
		return error;
	error = rte_eth_dev_start(device);
	if (error)
		return fail(opening, error, "start it", "check its devargs");
	// Neighbour solicitations come by multicast; devices that cannot filter show everything anyway.
	rte_eth_allmulticast_enable(device);
	return 0;
}

// ---- Both ----

int weir_port_ethdev_open(struct weir_port **ports, const struct weir_port_config *config, const uint16_t *index,
			  struct weir_fault *fault)
{
	struct opening opening = { .config = config, .index = index, .fault = fault, .mtu = RTE_ETHER_MTU };
	bool is_afxdp = config->kind == WEIR_PORT_AFXDP;
	int error;

	weir_ethdev_object(config, opening.object);
	for (uint16_t queue = 0; queue < config->queues; queue++)
		ports[queue] = NULL;
	opening.group = calloc(1, sizeof(*opening.group));
	if (!opening.group)
		return fail(&opening, -ENOMEM, "allocate it", "free some memory");
	opening.group->references = 1; // ours, until all is open
	error = is_afxdp ? open_afxdp(ports, &opening) : open_device(ports, &opening);
	for (uint16_t queue = config->queues; error && queue-- > 0;)
		if (ports[queue])
			weir_ethdev_close((struct weir_ethdev *)ports[queue]);
	if (--opening.group->references == 0) {
		weir_guard_close(opening.group->guard);
		free(opening.group);
	}
	return error;
}

void weir_ethdev_close(struct weir_ethdev *ethdev)
{
	struct weir_ethdev_group *group = ethdev->group;

	rte_pktmbuf_free_bulk(ethdev->spare, ethdev->spare_count);
	rte_pktmbuf_free_bulk(ethdev->outgoing, ethdev->outgoing_count);
	if (ethdev->owns_device) {
		rte_eth_dev_stop(ethdev->device);
		rte_eth_dev_close(ethdev->device);
	}
	// The pool stays: the AF_XDP driver keeps some of its buffers for good, and EAL gives it all back at its end.
	weir_memory_put(ethdev, sizeof(*ethdev));
	if (--group->references == 0) {
		weir_guard_close(group->guard);
		free(group);
	}
}
