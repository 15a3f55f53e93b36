#pragma once

#include <memory>
#include <vector>

#include "api/data_type.h"
#include "api/dual_abi_helper.h"
#include "api/format.h"
#include "api/status.h"
#include "api/types.h"

// The header of Lite's offline converter is in the official tarball but not in the registry's wheel, whose library has
// the class all the same. These are the members that we use, as the library exports them; the class holds one pointer.
namespace mindspore {
namespace converter {
enum FmkType : int {
  kFmkTypeMs = 3,
};
}  // namespace converter

class MS_API Converter {
 public:
  Converter();
  ~Converter() = default;

  void SetSaveType(ModelType type);
  void SetInputFormat(Format format);
  Status Convert(converter::FmkType framework, const std::vector<char>& model, const std::vector<char>& output,
                 const std::vector<char>& weights);

 private:
  struct Data;
  std::shared_ptr<Data> data_;
};

}  // namespace mindspore
