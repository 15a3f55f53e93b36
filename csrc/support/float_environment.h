#pragma once

#include <cfenv>

namespace skywork_rt {

/// Gives the calling thread back its floating-point environment (rounding, whether the smallest numbers are flushed to
/// zero) at the end of the scope. Libraries compiled for fast and loose arithmetic change it when they are loaded.
class FloatEnvironmentKept {
 public:
  FloatEnvironmentKept() { std::fegetenv(&before_); }
  ~FloatEnvironmentKept() { std::fesetenv(&before_); }
  FloatEnvironmentKept(const FloatEnvironmentKept&) = delete;
  FloatEnvironmentKept& operator=(const FloatEnvironmentKept&) = delete;

 private:
  std::fenv_t before_;
};

/// IEEE 754's default for the calling thread: to nearest, nothing flushed to zero. New threads inherit their creator's,
/// which is an application's and could be anything; results must not depend on it.
inline void UseDefaultFloatEnvironment() {
  std::fesetenv(FE_DFL_ENV);
}

}  // namespace skywork_rt
