// The stages of the path, each alone on what the one before it left: nanoseconds by the clock, instructions by callgrind,
// which counts only between the two requests that this makes around a stage. One thread.
#ifndef WEIR_PERF_MICRO_STAGES_H
#define WEIR_PERF_MICRO_STAGES_H

#include "perf/micro/rig.h"

// Runs every stage `rounds` times over a burst of frames and prints one JSON object. Returns whether every event came out
// right.
bool weir_stages_run(struct weir_rig *rig, uint32_t rounds);

#endif
