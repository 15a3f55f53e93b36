#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>

#include "grammar/llguidance.h"

namespace skywork_rt::testing {

/// Stands in for llguidance, so that what is around it runs without the library, and under ThreadSanitizer. A grammar's
/// text is the output that it allows, byte by byte; "|" in it means that the output may end there. Its type says how it
/// behaves:
///
///     text    at once
///     wrong   does not compile: the text is the error
///     gated   compiles when `Open` is called
///     stuck   each mask behind the first one is there when `Open` is called
///     hidden  at once, and each byte may be a # instead
class PretendLibrary {
 public:
  PretendLibrary();
  ~PretendLibrary();
  PretendLibrary(const PretendLibrary&) = delete;
  PretendLibrary& operator=(const PretendLibrary&) = delete;

  std::shared_ptr<const grammar::LlguidanceFunctions> functions() const;

  /// Lets go what waits, and what comes later.
  static void Open();
  /// Whoever comes later waits again.
  static void Shut();
  /// Matchers and tokenizers that are there, and how many matchers were compiled.
  static int Alive();
  static int Compiled();
};

}  // namespace skywork_rt::testing
