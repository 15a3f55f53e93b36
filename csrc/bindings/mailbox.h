#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace skywork_rt::bindings {

/// A file descriptor that an event loop watches, readable while it is raised.
class Signal {
 public:
  Signal();
  ~Signal();
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  int descriptor() const { return descriptor_; }
  void Raise() const noexcept;
  void Lower() const noexcept;

 private:
  int descriptor_;
};

/// Tells one event loop which of its requests have news, so that the engine never waits for Python: its thread notes
/// the request's key and raises the signal; the loop takes all keys at once when it wakes up. What the news are stays
/// with the request, so that a key is here once, however much has come: a loop that is busy makes nothing pile up.
///
/// Any thread may call any member. Memory is taken by Open alone and for what Take returns, so that no news are lost
/// where it runs out.
class Mailbox {
 public:
  using Key = std::uint64_t;
  struct Event {
    Key key = 0;
    bool ended = false;  // nothing more comes
  };

  int descriptor() const { return signal_.descriptor(); }

  /// A new key, for a request that is going to be submitted.
  Key Open();
  /// The request of this key has news, its last if `ended`. Forgotten when the key is closed.
  void Post(Key key, bool ended) noexcept;
  /// The keys that were posted since the last call, each once, in the order of their first post. Lowers the signal.
  std::vector<Event> Take();
  /// Drops what was posted and what is still to come.
  void Close(Key key);

 private:
  struct Slot {
    Event event;
    bool posted = false;
  };
  using Slots = std::list<Slot>;  // a slot changes lists without taking memory

  Signal signal_;  // raised while posted_ has something
  std::mutex mutex_;
  Slots posted_;
  Slots quiet_;
  std::unordered_map<Key, Slots::iterator> open_;
  Key last_ = 0;
};

}  // namespace skywork_rt::bindings
