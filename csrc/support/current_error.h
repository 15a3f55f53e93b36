#pragma once

#include <exception>

#include "skywork_rt/error.h"

namespace skywork_rt {

/// Whatever was thrown, as an Error of this library. To be called inside a catch block.
inline Error CurrentError(ErrorCode code_of_others) {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(code_of_others, error.what());
  } catch (...) {
    return Error(code_of_others, "an exception of an unknown type");
  }
}

}  // namespace skywork_rt
