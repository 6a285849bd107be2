#include "doctor/damage.h"

#include <cmath>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "headscope/error.h"
#include "models/blueprint.h"

namespace headscope::doctor {

namespace {

// The matrices of one attention, as f32 copies that take the place of the file's.
class Layer {
 public:
  Layer(models::Tensors& tensors, const models::Blueprint& b, int layer)
      : facts_(b.layers.at(static_cast<std::size_t>(layer)).attention) {
    const std::string& prefix = b.layers[static_cast<std::size_t>(layer)].prefix;
    const bool separate = facts_.layout == models::QkvLayout::kSeparate;
    if ((!separate && facts_.layout != models::QkvLayout::kConcatenated) ||
        b.matrices != headscope::Linear::Layout::kOutIn)
      throw Error(
          ErrorCode::kUnsupported,
          "[damage] expected matrices [out,in] whose queries, keys and values lie together");
    struct Kept {
      std::shared_ptr<const void> before;
      std::deque<Tensor> made;
    };
    auto kept = std::make_shared<Kept>();
    kept->before = tensors.owner;
    const auto take = [&](const std::string& name) {
      std::vector<std::string> prefixes = b.prefixes;
      prefixes.emplace_back();
      for (const std::string& p : prefixes) {
        const auto at = tensors.by_name.find(p + prefix + name + ".weight");
        if (at == tensors.by_name.end()) continue;
        kept->made.push_back(Tensor::f32_from(at->second));
        at->second = kept->made.back().any();
        return kept->made.back().view<float, 2>();
      }
      throw Error(ErrorCode::kNotFound, "[damage] expected " + prefix + name);
    };
    if (separate) {
      q = take(facts_.query);
      k = take(facts_.key);
      v = take(facts_.value);
    } else {
      View<float, 2> rest = take(facts_.fused);
      const auto cut = [&](std::int64_t rows) {
        const View<float, 2> out(rest.data, {rows, rest.shape[1]});
        rest.data += out.size();
        return out;
      };
      q = cut(facts_.heads * facts_.width);
      k = cut(facts_.groups * facts_.width);
      v = cut(facts_.groups * facts_.value_width);
    }
    o = take(facts_.output);
    tensors.owner = std::move(kept);
  }

  [[nodiscard]] bool shares() const { return facts_.groups != facts_.heads; }
  [[nodiscard]] std::int64_t group(int h) const { return h / (facts_.heads / facts_.groups); }
  [[nodiscard]] std::int64_t width() const { return facts_.width; }
  [[nodiscard]] std::int64_t value_width() const { return facts_.value_width; }
  /// f(number) over rows [n * width, ...) of a matrix, or columns.
  template <typename F>
  static void rows(View<float, 2> m, std::int64_t n, std::int64_t width, F&& f) {
    for (std::int64_t i = n * width; i < (n + 1) * width; ++i) {
      for (std::int64_t c = 0; c < m.shape[1]; ++c) f(m(i, c));
    }
  }
  template <typename F>
  static void columns(View<float, 2> m, std::int64_t n, std::int64_t width, F&& f) {
    for (std::int64_t i = 0; i < m.shape[0]; ++i) {
      for (std::int64_t c = n * width; c < (n + 1) * width; ++c) f(m(i, c));
    }
  }
  static void swap_rows(
      View<float, 2> a, std::int64_t n, View<float, 2> b, std::int64_t m, std::int64_t width) {
    for (std::int64_t i = 0; i < width; ++i) {
      for (std::int64_t c = 0; c < a.shape[1]; ++c)
        std::swap(a(n * width + i, c), b(m * width + i, c));
    }
  }

  View<float, 2> q, k, v, o;

 private:
  const models::AttentionFacts& facts_;
};

template <typename Walk>
void to_noise(Walk&& walk, std::mt19937_64& random) {
  double square = 0.0;
  std::int64_t n = 0;
  walk([&](float& x) { square += static_cast<double>(x) * static_cast<double>(x), ++n; });
  std::normal_distribution<float> normal(
      0.0F, static_cast<float>(std::sqrt(square / static_cast<double>(n))));
  walk([&](float& x) { x = normal(random); });
}

void harm(Layer& l, Damage damage, int h, int other, std::mt19937_64& random) {
  const std::int64_t D = l.width(), Dv = l.value_width();
  const auto noise = [&](View<float, 2> m, bool rows, std::int64_t width) {
    to_noise([&](auto&& f) { rows ? Layer::rows(m, h, width, f) : Layer::columns(m, h, width, f); },
             random);
  };
  switch (damage) {
    case Damage::kNoise:
      noise(l.q, true, D);
      if (!l.shares()) noise(l.k, true, D), noise(l.v, true, Dv);
      noise(l.o, false, Dv);
      break;
    case Damage::kFrozen:
      if (l.shares())
        Layer::columns(l.o, h, Dv, [](float& x) { x = 0.0F; });
      else
        Layer::rows(l.v, h, Dv, [](float& x) { x = 0.0F; });
      break;
    case Damage::kSwapped:
      if (!l.shares()) {
        Layer::swap_rows(l.q, h, l.k, h, D);
        break;
      }
      for (std::int64_t i = 0; i < D; ++i) {
        for (std::int64_t c = 0; c < l.q.shape[1]; ++c)
          l.q(h * D + i, c) = l.k(l.group(h) * D + i, c);
      }
      break;
    case Damage::kExchanged:
      Layer::swap_rows(l.q, h, l.q, other, D);
      if (!l.shares())
        Layer::swap_rows(l.k, h, l.k, other, D), Layer::swap_rows(l.v, h, l.v, other, Dv);
      break;
    case Damage::kScaled:
      Layer::columns(l.o, h, Dv, [](float& x) { x *= 3.0F; });
      break;
    case Damage::kNan:
      Layer::rows(l.q, h, D, [](float& x) { x = std::numeric_limits<float>::quiet_NaN(); });
  }
}

}  // namespace

void harm(models::Tensors& tensors,
          const models::Blueprint& blueprint,
          HeadId head,
          Damage damage,
          int other,
          std::mt19937_64& random) {
  Layer layer(tensors, blueprint, head.layer);
  harm(layer, damage, head.head, other, random);
}

}  // namespace headscope::doctor
