#include "grammar/llguidance.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::grammar {
namespace {

constexpr const char* kFix = "install one that fits: pip install 'skywork-rt[grammar]'";

template <typename Function>
void Find(void* library, const std::string& path, const char* name, Function* function) {
  void* found = dlsym(library, name);
  if (found == nullptr) {
    throw Error(ErrorCode::kUnsupported, StrCat("llguidance at ", path, " has no function ", name, "; ", kFix));
  }
  static_assert(sizeof(found) == sizeof(*function), "POSIX keeps functions in pointers");
  std::memcpy(function, &found, sizeof(found));
}

// "llguidance@1.9.1 derivre@0.3.13"
void CheckVersion(const char* version) {
  const char* number = std::strchr(version, '@');
  char* rest = nullptr;
  const long major = number != nullptr ? std::strtol(number + 1, &rest, 10) : 0;
  const long minor = rest != nullptr && *rest == '.' ? std::strtol(rest + 1, nullptr, 10) : -1;
  if (major != 1 || minor < 8) {
    throw Error(ErrorCode::kUnsupported,
                StrCat("the installed llguidance is ", version, ", but 1.8 or a later 1.x is needed; ", kFix));
  }
}

}  // namespace

std::shared_ptr<const LlguidanceFunctions> LoadLlguidance(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);  // never closed: threads may be in its code
  if (library == nullptr) {
    const char* reason = dlerror();
    throw Error(ErrorCode::kUnsupported,
                StrCat("llguidance does not load: ", reason != nullptr ? reason : path.c_str(), "; ", kFix));
  }
  auto functions = std::make_shared<LlguidanceFunctions>();
  Find(library, path, "llg_get_version", &functions->get_version);
  CheckVersion(functions->get_version());
  Find(library, path, "llg_new_tokenizer_v2", &functions->new_tokenizer);
  Find(library, path, "llg_free_tokenizer", &functions->free_tokenizer);
  Find(library, path, "llg_new_matcher", &functions->new_matcher);
  Find(library, path, "llg_clone_matcher", &functions->clone_matcher);
  Find(library, path, "llg_free_matcher", &functions->free_matcher);
  Find(library, path, "llg_matcher_get_error", &functions->get_error);
  Find(library, path, "llg_matcher_get_mask_byte_size", &functions->get_mask_byte_size);
  Find(library, path, "llg_matcher_compute_mask_into", &functions->compute_mask_into);
  Find(library, path, "llg_matcher_consume_token", &functions->consume_token);
  Find(library, path, "llg_matcher_rollback", &functions->rollback);
  return functions;
}

}  // namespace skywork_rt::grammar
