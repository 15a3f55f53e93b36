#include "engine/failing_allocator.h"

#include <malloc.h>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

namespace skywork_rt {
namespace {

std::atomic<bool> g_armed{false};
std::atomic<std::int64_t> g_count{0};
std::atomic<std::int64_t> g_first{0};
std::atomic<std::int64_t> g_last{0};
std::atomic<std::int64_t> g_live{0};
thread_local int t_shelters = 0;

bool MustFail() {
  if (!g_armed.load(std::memory_order_relaxed) || t_shelters != 0) return false;
  const std::int64_t index = g_count.fetch_add(1, std::memory_order_relaxed);
  return index >= g_first && index < g_last;
}

}  // namespace

void FailingAllocator::Arm(std::int64_t first, std::int64_t count) {
  g_count = 0;
  g_first = first;
  g_last = count == kForEver ? kForEver : first + count;
  g_armed = true;
}

std::int64_t FailingAllocator::Disarm() {
  g_armed = false;
  return g_count;
}

std::int64_t FailingAllocator::LiveBytes() {
  return g_live;
}

Shelter::Shelter() {
  ++t_shelters;
}
Shelter::~Shelter() {
  --t_shelters;
}
Exposure::Exposure() : depth_(std::exchange(t_shelters, 0)) {}
Exposure::~Exposure() {
  t_shelters = depth_;
}

}  // namespace skywork_rt

void* operator new(std::size_t size) {
  if (skywork_rt::MustFail()) throw std::bad_alloc();
  void* const memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  skywork_rt::g_live += static_cast<std::int64_t>(malloc_usable_size(memory));
  return memory;
}
void operator delete(void* memory) noexcept {
  skywork_rt::g_live -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*size*/) noexcept {
  ::operator delete(memory);
}
