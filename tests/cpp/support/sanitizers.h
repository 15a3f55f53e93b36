#pragma once

// What a test may have to know about the build it runs in.

namespace skywork_rt::testing {

#if defined(__has_feature)
#define SKYWORK_RT_HAS_FEATURE(x) __has_feature(x)
#else
#define SKYWORK_RT_HAS_FEATURE(x) 0
#endif

/// The process's memory is not the program's alone: freed blocks stay in a quarantine, every access has a shadow.
#if defined(__SANITIZE_ADDRESS__) || SKYWORK_RT_HAS_FEATURE(address_sanitizer)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__) || SKYWORK_RT_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

#undef SKYWORK_RT_HAS_FEATURE

/// How often to repeat what is random: a sanitizer, at a tenth of the speed or less, looks at paths and not at
/// frequencies, which the plain build has tested.
constexpr int Repeats(int plain) {
  return kAddressSanitizer || kThreadSanitizer ? (plain + 9) / 10 : plain;
}

/// A size that costs time and is not what is asked for: the plain build's, or one below a sanitizer that takes the same
/// paths.
constexpr int Size(int plain, int sanitized) {
  return kAddressSanitizer || kThreadSanitizer ? sanitized : plain;
}

}  // namespace skywork_rt::testing
