// See reaper.h. A thread a job, for jobs are rare: only hostile or broken clients make any. Most waits inside close() end with
// a signal, so a timer sends the thread one every few milliseconds; the others (a file system that does not answer) keep
// the thread, its user's turn, and nothing else.
#include "control/daemon/reaper.h"
#include "lib/clock.h"

#include <errno.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define NUDGE_SIGNAL (SIGRTMIN + 2)
#define NUDGE_NS 5000000
#define STACK_SIZE (64u << 10)

// The threads share it with its owner; whoever leaves last frees it.
struct weir_reaper {
	pthread_mutex_t mutex;
	struct turn {
		uint32_t uid;
		uint64_t begin_ms;
	} turns[WEIR_REAPER_JOBS_MAX]; // of jobs under way
	uint32_t jobs;
	bool is_left; // by its owner
};

struct job {
	struct weir_reaper *reaper;
	struct turn turn;
	uint32_t count;
	int fds[];
};

static void nudged(int signal)
{
	(void)signal;
}

int weir_reaper_create(struct weir_reaper **out, struct weir_trouble *trouble)
{
	struct sigaction action = { .sa_handler = nudged };
	struct weir_reaper *reaper = calloc(1, sizeof(*reaper));

	if (!reaper) {
		weir_trouble_set(trouble, "local sockets", "prepare their ends", "free some memory", "out of memory");
		return -ENOMEM;
	}
	pthread_mutex_init(&reaper->mutex, NULL);
	sigaction(NUDGE_SIGNAL, &action, NULL);
	*out = reaper;
	return 0;
}

static void unlock_and_leave(struct weir_reaper *reaper)
{
	bool is_last = reaper->is_left && reaper->jobs == 0;

	pthread_mutex_unlock(&reaper->mutex);
	if (!is_last)
		return;
	pthread_mutex_destroy(&reaper->mutex);
	free(reaper);
}

void weir_reaper_destroy(struct weir_reaper *reaper)
{
	if (!reaper)
		return;
	pthread_mutex_lock(&reaper->mutex);
	reaper->is_left = true;
	unlock_and_leave(reaper);
}

static void end(struct job *job)
{
	struct weir_reaper *reaper = job->reaper;

	pthread_mutex_lock(&reaper->mutex);
	for (uint32_t i = 0; i < reaper->jobs; i++) {
		if (memcmp(&reaper->turns[i], &job->turn, sizeof(job->turn)) == 0) {
			reaper->turns[i] = reaper->turns[--reaper->jobs];
			break;
		}
	}
	unlock_and_leave(reaper);
	free(job);
}

static void *work(void *argument)
{
	struct job *job = argument;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = NUDGE_SIGNAL };
	const struct itimerspec often = { .it_interval.tv_nsec = NUDGE_NS, .it_value.tv_nsec = NUDGE_NS };
	sigset_t wanted;
	timer_t timer;
	bool is_nudged;

	sigemptyset(&wanted);
	sigaddset(&wanted, NUDGE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	is_nudged = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
	if (is_nudged)
		timer_settime(timer, 0, &often, NULL);
	for (uint32_t i = 0; i < job->count; i++)
		close(job->fds[i]);
	if (is_nudged)
		timer_delete(timer);
	end(job);
	return NULL;
}

// All signals but its own are for other threads.
static int begin(struct job *job)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, work, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

void weir_reaper_close(struct weir_reaper *reaper, uint32_t uid, const int *fds, uint32_t count)
{
	struct job *job = count ? malloc(sizeof(*job) + count * sizeof(*fds)) : NULL;
	bool is_taken;

	if (!job)
		return;
	job->reaper = reaper;
	memset(&job->turn, 0, sizeof(job->turn));
	job->turn.uid = uid;
	job->turn.begin_ms = lib_clock_ms();
	job->count = count;
	memcpy(job->fds, fds, count * sizeof(*fds));
	pthread_mutex_lock(&reaper->mutex);
	is_taken = reaper->jobs < WEIR_REAPER_JOBS_MAX;
	if (is_taken)
		memcpy(&reaper->turns[reaper->jobs++], &job->turn, sizeof(job->turn));
	pthread_mutex_unlock(&reaper->mutex);
	if (!is_taken)
		free(job);
	else if (begin(job) != 0)
		end(job);
}

bool weir_reaper_is_busy(struct weir_reaper *reaper, uint32_t uid)
{
	uint64_t time_ms = lib_clock_ms();
	uint32_t jobs = 0;
	bool is_busy = false;

	pthread_mutex_lock(&reaper->mutex);
	for (uint32_t i = 0; i < reaper->jobs; i++) {
		const struct turn *turn = &reaper->turns[i];

		if (turn->uid != uid)
			continue;
		is_busy |= ++jobs == WEIR_REAPER_USER_JOBS || time_ms - turn->begin_ms >= WEIR_REAPER_SLOW_MS;
	}
	pthread_mutex_unlock(&reaper->mutex);
	return is_busy;
}

bool weir_reaper_has_room(struct weir_reaper *reaper)
{
	bool has_room;

	pthread_mutex_lock(&reaper->mutex);
	has_room = reaper->jobs < WEIR_REAPER_JOBS_MAX;
	pthread_mutex_unlock(&reaper->mutex);
	return has_room;
}

// ---- Sockets of local peers ----

void weir_local_refuse_descriptors(int socket)
{
	int no = 0;

	// Where the kernel does not know it, weir_local_receive() and weir_local_close() see to the same.
	(void)!setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no));
}

ssize_t weir_local_receive(int socket, void *bytes, size_t size)
{
	struct iovec part = { bytes, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	// A look takes nothing off the queue, and with it no last hold on any descriptor.
	ssize_t seen = recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT);

	if (seen <= 0)
		return seen;
	if (message.msg_flags & MSG_CTRUNC) {
		errno = EPERM;
		return -1;
	}
	// Exactly what was looked at: what came since may bring more.
	return recv(socket, bytes, (size_t)seen, MSG_DONTWAIT);
}

void weir_local_close(struct weir_reaper *reaper, uint32_t uid, int socket)
{
	int unread = 0;

	// After this the peer can send no more.
	shutdown(socket, SHUT_RD);
	if (ioctl(socket, SIOCINQ, &unread) == 0 && unread == 0)
		close(socket);
	else
		weir_reaper_close(reaper, uid, &socket, 1);
}

uint32_t weir_local_uid(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.uid : UINT32_MAX;
}
