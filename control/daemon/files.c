// The limit of open files and what is open, for a refusal in time: out of descriptors nobody could even be told.
#include "control/daemon/files.h"

#include <dirent.h>
#include <sys/resource.h>

#define FILES_MAX 65536u // when nobody limits them below

void weir_files_raise_limit(void)
{
	struct rlimit limit;
	rlim_t most;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	most = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
	if (limit.rlim_cur < most) {
		limit.rlim_cur = most;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

uint64_t weir_files_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : UINT64_MAX;
}

uint64_t weir_files_used(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (!folder)
		return 0;
	while (readdir(folder))
		count++;
	closedir(folder);
	return count - 3; // ".", ".." and the one that reads
}
