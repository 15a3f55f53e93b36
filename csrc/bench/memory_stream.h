#pragma once

#include <cstddef>

namespace skywork_rt {

/// Bytes a second at which `threads` threads together read memory that no cache holds, each its own part of `bytes`
/// (in huge pages where the system gives them): what bounds a decoder that reads every weight once a token. The best
/// of `passes` passes. Throws Error(kInvalidArgument) when a number is 0 or threads are more than
/// WorkerTeam::kMostThreads, Error(kCapacity) when memory is short or the system refuses a thread.
double MeasureMemoryStream(int threads, std::size_t bytes, int passes);

}  // namespace skywork_rt
