#pragma once

#include <functional>
#include <memory>

#include "backend/graph_session.h"

namespace skywork_rt::host_cache {

/// All that the backend asks of what runs its graphs. The seam at which tests put a double; the real one is in
/// lite_runtime/mindspore_session.cc.
using Session = GraphSession;
using Shape = GraphSession::Shape;
using ElementType = GraphSession::ElementType;
using TensorInfo = GraphSession::TensorInfo;

using SessionFactory = std::function<std::unique_ptr<Session>()>;

}  // namespace skywork_rt::host_cache
