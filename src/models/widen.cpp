#include "models/widen.h"

namespace headscope::models {

void widen(Tensors& tensors) {
  struct Kept {
    std::shared_ptr<const void> before;
    std::deque<Tensor> made;
  };
  auto kept = std::make_shared<Kept>();
  kept->before = tensors.owner;
  for (auto& [name, view] : tensors.by_name) {
    if (view.shape.size() != 2 || view.dtype == DType::kF32) continue;
    kept->made.push_back(Tensor::f32_from(view));
    view = kept->made.back().any();
  }
  tensors.owner = std::move(kept);
}

}  // namespace headscope::models
