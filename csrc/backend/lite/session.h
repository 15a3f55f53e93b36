#pragma once

#include <functional>
#include <memory>

#include "backend/graph_session.h"

namespace skywork_rt::lite {

/// All that the backend asks of MindSpore Lite. The seam at which tests put a double; `MindSporeSession` is the real
/// one.
using Session = GraphSession;
using Shape = GraphSession::Shape;
using ElementType = GraphSession::ElementType;
using TensorInfo = GraphSession::TensorInfo;

using SessionFactory = std::function<std::unique_ptr<Session>()>;

}  // namespace skywork_rt::lite
