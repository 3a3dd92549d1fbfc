// Every instance keeps its socket as NAME.sock in the folder of all of them; NAME.lanes.sock is a second one of the same.
#include "control/ctl/instances.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/nearest.h"

#define ENDING ".sock"

static int is_control_socket(const struct dirent *entry)
{
	size_t size = strlen(entry->d_name);

	return size > strlen(ENDING) && strcmp(entry->d_name + size - strlen(ENDING), ENDING) == 0 &&
	       !strstr(entry->d_name, ".lanes.");
}

void weir_instances_guess(const char *socket, char *name, size_t size)
{
	const char *base = strrchr(socket, '/');
	const char *guess = NULL;
	struct dirent **entries = NULL;
	struct lib_nearest nearest;
	char folder[108];
	int count;

	name[0] = 0;
	if (!base)
		return;
	snprintf(folder, sizeof(folder), "%.*s", (int)(base + 1 - socket), socket);
	lib_nearest_begin(&nearest, base + 1);
	count = scandir(folder, &entries, is_control_socket, alphasort);
	for (int i = 0; i < count; i++)
		lib_nearest_offer(&nearest, entries[i]->d_name);
	guess = nearest.word ? nearest.word : count == 1 ? entries[0]->d_name : NULL;
	// The one that was named is none to offer: it is there, and nobody answers.
	if (guess && strcmp(guess, base + 1) != 0)
		snprintf(name, size, "%.*s", (int)(strlen(guess) - strlen(ENDING)), guess);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
}
