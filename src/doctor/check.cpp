// A model beside a healthy one.
#include "doctor/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "headscope/linear.h"
#include "models/network.h"

namespace headscope::doctor {

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// |a - b| / |b|, infinite when it is no number.
class Difference {
 public:
  void add(float a, float b) {
    const double d = static_cast<double>(a) - static_cast<double>(b);
    apart_ += d * d;
    size_ += static_cast<double>(b) * static_cast<double>(b);
  }
  [[nodiscard]] double value() const {
    const double out = std::sqrt(apart_ / std::max(size_, 1e-30));
    return std::isfinite(out) ? out : kInfinite;
  }

 private:
  double apart_ = 0.0, size_ = 0.0;
};

// What one head does differently, over all texts.
struct Local {
  Difference attention, findings, weights;
  double q_or_k = 0.0;
};

void check_shapes(const Model& model, const Model& healthy) {
  const auto shape = [](const Model& m) {
    std::string out = fmt::format("{} width {}", m.family(), m.width());
    for (int l = 0; l < m.layers(); ++l)
      out += fmt::format(
          " {}/{}x{}", m.attention(l).heads, m.attention(l).groups, m.attention(l).width);
    return out;
  };
  const std::string a = shape(healthy);
  const std::string b = shape(model);
  if (a == b) return;
  int l = 0;  // the first layer that differs, where it is one
  const int L = std::min(healthy.layers(), model.layers());
  while (l + 1 < L && healthy.heads(l) == model.heads(l)) ++l;
  throw Error(ErrorCode::kShape,
              fmt::format("[check] expected two models of one shape, {} layers, {} heads in layer "
                          "{}, {} wide; found {}, {}, {}",
                          healthy.layers(),
                          healthy.heads(l),
                          l,
                          healthy.width(),
                          model.layers(),
                          model.heads(l),
                          model.width()));
}

// The layer's attention on somebody else's stream.
AttentionTrace ask(const Model& model, const Baseline& other, int layer) {
  Resume resume;
  resume.layer = layer;
  resume.end = layer + 1;
  resume.x = &other.stream(layer);
  RunOptions options;
  options.outputs = false;
  options.resume = &resume;
  options.trace_layers = {layer};
  return std::move(model.run(other.copies(1), options).traces.front());
}

void compare(const AttentionTrace& found,
             const AttentionTrace& want,
             int layer,
             std::map<HeadId, Local>& to) {
  const auto H = static_cast<int>(want.z.dim(1));
  const std::int64_t each = want.z.dim(2) * want.z.dim(3);
  for (int h = 0; h < H; ++h) {
    Local& local = to[{layer, h}];
    const float* a = found.z.span<float>().data() + h * each;
    const float* b = want.z.span<float>().data() + h * each;
    for (std::int64_t i = 0; i < each; ++i) local.findings.add(a[i], b[i]);
    // Whether it looks elsewhere shows in q and in its group's k.
    const std::int64_t rows = want.q.dim(2) * want.q.dim(3);
    const std::int64_t keys = want.k.dim(2) * want.k.dim(3);
    const std::int64_t g = h / (H / want.k.dim(1));
    for (std::int64_t i = 0; i < rows; ++i)
      local.attention.add(found.q.span<float>()[static_cast<std::size_t>(h * rows + i)],
                          want.q.span<float>()[static_cast<std::size_t>(h * rows + i)]);
    for (std::int64_t i = 0; i < keys; ++i)
      local.attention.add(found.k.span<float>()[static_cast<std::size_t>(g * keys + i)],
                          want.k.span<float>()[static_cast<std::size_t>(g * keys + i)]);
  }
}

void compare_weights(const Model& model, const Model& healthy, std::map<HeadId, Local>& to) {
  for (int l = 0; l < healthy.layers(); ++l) {
    const Tensor mine = model.output_weight(l);
    const Tensor theirs = healthy.output_weight(l);
    const auto a = mine.view<float, 2>();
    const auto b = theirs.view<float, 2>();
    const std::int64_t D = a.shape[1] / healthy.heads(l);
    for (std::int64_t c = 0; c < a.shape[0]; ++c) {
      for (std::int64_t n = 0; n < a.shape[1]; ++n)
        to[{l, static_cast<int>(n / D)}].weights.add(a(c, n), b(c, n));
    }
  }
}

Suspect suspect_of(HeadId id, const Local& local) {
  Suspect out;
  out.head = id;
  const double findings = local.findings.value();
  const double weights = local.weights.value();
  out.differs = std::max(findings, weights);
  if (std::isinf(out.differs))
    out.reason = Reason::kNotFinite;
  else if (weights > findings)
    out.reason = Reason::kWrites;
  else
    out.reason = local.attention.value() > kDiffers ? Reason::kLooks : Reason::kSays;
  return out;
}

// |last hidden state - healthy| / |healthy| of a stream behind the last layer.
double damage_of(const Baseline& base, const Tensor& stream, const Tensor& healthy) {
  Resume resume;
  resume.layer = base.layers();
  resume.x = &stream;
  RunOptions options;
  options.outputs = false;
  options.resume = &resume;
  const Run run = base.model().run(base.copies(1), options);
  Difference d;
  for (std::size_t i = 0; i < healthy.span<float>().size(); ++i)
    d.add(run.last_hidden_state.span<float>()[i], healthy.span<float>()[i]);
  return d.value();
}

// The broken run with one head healed: it finds and writes what the healthy one would, asked the same.
double healed(const Baseline& broken, const Model& healthy, HeadId id, const Tensor& last) {
  const Model& model = broken.model();
  const AttentionTrace well = ask(healthy, broken, id.layer);
  const Tensor mine = model.output_weight(id.layer);
  const Tensor theirs = healthy.output_weight(id.layer);
  const Tensor bias = model.output_bias(id.layer);
  const auto a = mine.view<float, 2>();
  const auto b = theirs.view<float, 2>();
  const auto found = broken.merged(id.layer).view<float, 3>();
  const auto z = well.z.view<float, 4>();
  const std::int64_t D = z.shape[3];
  Tensor attended(DType::kF32, broken.attended(id.layer).shape());
  const auto to = attended.view<float, 3>();
  for (std::int64_t i = 0; i < found.shape[1]; ++i) {
    for (std::int64_t c = 0; c < a.shape[0]; ++c) {
      double sum = static_cast<double>(bias.span<float>()[static_cast<std::size_t>(c)]);
      for (std::int64_t n = 0; n < a.shape[1]; ++n) {
        const bool own = n / D == id.head;
        sum += own ? static_cast<double>(b(c, n)) * static_cast<double>(z(0, id.head, i, n % D))
                   : static_cast<double>(a(c, n)) * static_cast<double>(found(0, i, n));
      }
      to(0, i, c) = static_cast<float>(sum);
    }
  }
  Tensor stream = broken.stream(id.layer).clone();
  for (int l = id.layer; l < broken.layers(); ++l) {
    Resume resume;
    resume.layer = l;
    resume.end = l + 1;
    resume.x = &stream;
    resume.attended = l == id.layer ? &attended : nullptr;
    RunOptions options;
    options.outputs = false;
    options.resume = &resume;
    stream = model.run(broken.copies(1), options).last_hidden_state;
  }
  return damage_of(broken, stream, last);
}

Tensor last_of(const Baseline& base) {
  Resume resume;
  resume.layer = base.layers();
  resume.x = &base.stream(base.layers());
  RunOptions options;
  options.outputs = false;
  options.resume = &resume;
  return std::move(base.model().run(base.copies(1), options).last_hidden_state);
}

}  // namespace

std::string_view name(Reason reason) {
  static constexpr std::string_view kNames[] = {"not_finite",
                                                "silent",
                                                "constant",
                                                "looks_elsewhere",
                                                "says_else",
                                                "writes_else",
                                                "collapsed",
                                                "loud",
                                                "quiet",
                                                "flat"};
  return kNames[static_cast<std::size_t>(reason)];
}

Checkup check(const Model& model,
              const Model& healthy,
              std::span<const Tokens> texts,
              const Told& told,
              std::size_t most_healed) {
  check_shapes(model, healthy);
  if (texts.empty()) throw Error(ErrorCode::kInput, "[check] expected a text, found none");
  std::map<HeadId, Local> locals;
  compare_weights(model, healthy, locals);
  std::vector<Baseline> wells;
  const auto L = static_cast<std::int64_t>(healthy.layers());
  const auto N = static_cast<std::int64_t>(texts.size());
  const auto total = N * (L + static_cast<std::int64_t>(most_healed));
  std::int64_t done = 0;
  for (const Tokens& text : texts) {
    wells.emplace_back(healthy, copy_of(text));
    for (int l = 0; l < healthy.layers(); ++l) {
      compare(ask(model, wells.back(), l), ask(healthy, wells.back(), l), l, locals);
      if (told) told(++done, total);
    }
  }
  Checkup out;
  for (const auto& [id, local] : locals) {
    Suspect suspect = suspect_of(id, local);
    if (suspect.differs > kDiffers) out.suspects.push_back(suspect);
  }
  const auto differs = [](const Suspect& a, const Suspect& b) { return a.differs > b.differs; };
  std::stable_sort(out.suspects.begin(), out.suspects.end(), differs);
  const std::size_t n = std::min(most_healed, out.suspects.size());
  for (const Baseline& well : wells) {
    const Baseline broken(model, copy_of(well.tokens()));
    const Tensor last = last_of(well);
    const double before = damage_of(broken, broken.stream(broken.layers()), last);
    out.damage = std::max(out.damage, before);
    for (std::size_t i = 0; i < n && before > 0.0; ++i) {
      const double after = healed(broken, healthy, out.suspects[i].head, last);
      const double share = std::isinf(before)  ? (std::isinf(after) ? 0.0 : 1.0)
                           : std::isinf(after) ? 0.0
                                               : 1.0 - after / before;
      out.suspects[i].score += share / static_cast<double>(wells.size());
      if (told) told(++done, total);
    }
  }
  std::stable_sort(out.suspects.begin(),
                   out.suspects.begin() + static_cast<std::ptrdiff_t>(n),
                   [](const Suspect& a, const Suspect& b) { return a.score > b.score; });
  return out;
}

}  // namespace headscope::doctor
