// A model by itself: heads that stand out in their layer.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "doctor/check.h"

namespace headscope::doctor {

namespace {

enum Feature {
  kQueryNorm,
  kKeyNorm,
  kFindingsNorm,
  kOutputNorm,
  kQueryFlat,
  kOutputFlat,
  kFeatures
};

struct Seen {
  std::array<double, kFeatures> features{};  // logarithms; summed over texts, then divided
  std::optional<Reason> broken;
  std::int64_t texts = 0;
};

struct Moments {
  double norm = 0.0;  // root of the mean square
  double flatness =
      0.0;  // (sum of eigenvalues of x'x)^2 / sum of their squares, over D: 1 when all are equal
  double around = 0.0;  // root of the mean square around the mean row
};

// Of rows [n,D], `stride` numbers from one to the next.
Moments moments(const float* x, std::int64_t n, std::int64_t D, std::int64_t stride) {
  const auto d = static_cast<std::size_t>(D);
  std::vector<double> gram(d * d, 0.0), mean(d, 0.0);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* row = x + i * stride;
    for (std::size_t a = 0; a < d; ++a) {
      const auto value = static_cast<double>(row[a]);
      mean[a] += value / static_cast<double>(n);
      for (std::size_t b = 0; b <= a; ++b) gram[a * d + b] += value * static_cast<double>(row[b]);
    }
  }
  double trace = 0.0, squares = 0.0, offset = 0.0;
  for (std::size_t a = 0; a < d; ++a) {
    trace += gram[a * d + a];
    offset += mean[a] * mean[a];
    for (std::size_t b = 0; b <= a; ++b)
      squares += (a == b ? 1.0 : 2.0) * gram[a * d + b] * gram[a * d + b];
  }
  Moments out;
  const auto numbers = static_cast<double>(n * D);
  out.norm = std::sqrt(trace / numbers);
  out.around = std::sqrt(std::max(0.0, trace - static_cast<double>(n) * offset) / numbers);
  out.flatness = squares > 0.0 ? trace * trace / squares / static_cast<double>(D) : 0.0;
  return out;
}

double logarithm(double x) { return std::log(std::max(x, 1e-30)); }

double median(std::vector<double> x) {
  if (x.empty()) return 0.0;
  const auto middle = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), middle, x.end());
  return *middle;
}

// Nearly all rows give nearly all of their weight to one key, and that is neither the first nor the last: those are
// where heads rest.
bool collapsed(const FocusRecord& record, int h) {
  const std::int64_t T = record.rows;
  const auto at = static_cast<std::size_t>(record.slot(h) * T);
  const auto keys = record.argmax.span<std::int32_t>().subspan(at, static_cast<std::size_t>(T));
  const auto weights = record.max_weight.span<float>().subspan(at, static_cast<std::size_t>(T));
  constexpr std::size_t kBegin = 8;  // rows before that see too few keys
  if (keys.size() < 3 * kBegin) return false;
  std::map<std::int32_t, std::size_t> counts;
  double sure = 0.0;
  for (std::size_t i = kBegin; i < keys.size(); ++i) {
    ++counts[keys[i]];
    sure += static_cast<double>(weights[i]);
  }
  const auto n = keys.size() - kBegin;
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      });
  return most->second * 20 >= n * 19 && sure >= 0.99 * static_cast<double>(n) && most->first > 0 &&
         most->first + 1 < static_cast<std::int32_t>(record.keys);
}

void look(const AttentionTrace& t, const Tensor& weight, int h, Seen& seen) {
  const std::int64_t T = t.q.dim(2), D = t.q.dim(3), Dv = t.z.dim(3);
  const std::int64_t g = h / (t.q.dim(1) / t.k.dim(1));
  const Moments q = moments(t.q.span<float>().data() + h * T * D, T, D, D);
  const Moments k = moments(t.k.span<float>().data() + g * t.k.dim(2) * D, t.k.dim(2), D, D);
  const Moments z = moments(t.z.span<float>().data() + h * T * Dv, T, Dv, Dv);
  const Moments w = moments(weight.span<float>().data() + h * Dv, weight.dim(0), Dv, weight.dim(1));
  for (const Moments& m : {q, k, z, w}) {
    if (!std::isfinite(m.norm) || !std::isfinite(m.flatness)) seen.broken = Reason::kNotFinite;
  }
  if (seen.broken == Reason::kNotFinite) return;
  constexpr double kNothing = 1e-6;  // of what others have: f32 sums do not come so near by chance
  if (z.norm == 0.0 || w.norm == 0.0)
    seen.broken = Reason::kSilent;
  else if (T > 1 && z.around <= kNothing * z.norm)
    seen.broken = Reason::kConstant;
  seen.features[kQueryNorm] += logarithm(q.norm);
  seen.features[kKeyNorm] += logarithm(k.norm);
  seen.features[kFindingsNorm] += logarithm(z.norm);
  seen.features[kOutputNorm] += logarithm(w.norm);
  seen.features[kQueryFlat] += logarithm(q.flatness);
  seen.features[kOutputFlat] += logarithm(w.flatness);
  ++seen.texts;
}

// Deviations of each head from the median of its layer; their own median over the model is the unit.
void judge_features(const Model& model, std::vector<Seen>& seen, std::vector<Suspect>& suspects) {
  for (int f = 0; f < kFeatures; ++f) {
    const auto feature = static_cast<std::size_t>(f);
    std::vector<double> away(seen.size(), 0.0);
    std::size_t at = 0;
    for (int l = 0; l < model.layers(); ++l) {
      const auto H = static_cast<std::size_t>(model.heads(l));
      std::vector<double> layer;
      for (std::size_t h = 0; h < H; ++h) layer.push_back(seen[at + h].features[feature]);
      const double middle = median(layer);
      for (std::size_t h = 0; h < H; ++h) away[at + h] = layer[h] - middle;
      at += H;
    }
    std::vector<double> sizes;
    for (const double x : away) sizes.push_back(std::abs(x));
    const double unit = std::max(1.4826 * median(sizes), 0.02);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const double score = std::abs(away[i]) / unit;
      if (seen[i].broken || score <= suspects[i].score) continue;
      suspects[i].score = score;
      suspects[i].reason = f == kQueryFlat || f == kOutputFlat
                               ? Reason::kFlat
                               : (away[i] > 0.0 ? Reason::kLoud : Reason::kQuiet);
    }
  }
}

}  // namespace

Checkup check(const Model& model, std::span<const Tokens> texts, const Told& told) {
  if (texts.empty()) throw Error(ErrorCode::kInput, "[check] expected a text, found none");
  const std::vector<HeadId> ids = heads_of(model);
  std::vector<Seen> seen(ids.size());
  std::int64_t done = 0;
  const auto total = static_cast<std::int64_t>(texts.size()) * model.layers();
  const Sight sight;
  for (const Tokens& text : texts) {
    Tensor x;
    std::size_t at = 0;
    for (int l = 0; l < model.layers(); ++l) {
      Resume resume;
      resume.layer = l;
      resume.end = l + 1;
      resume.x = l == 0 ? nullptr : &x;
      RunOptions options;
      options.outputs = false;
      options.resume = &resume;
      options.trace_layers = {l};
      options.sight = &sight;
      options.layers = {l};
      Run run = model.run(text, options);
      const Tensor weight = model.output_weight(l);
      const FocusRecord& record = run.sighting.layers[static_cast<std::size_t>(l)];
      for (int h = 0; h < model.heads(l); ++h, ++at) {
        look(run.traces.front(), weight, h, seen[at]);
        if (!seen[at].broken && collapsed(record, h)) seen[at].broken = Reason::kCollapsed;
      }
      x = std::move(run.last_hidden_state);
      // What is no number here is none in all that follows: that would blame every later head.
      const auto all = x.span<float>();
      if (!std::all_of(all.begin(), all.end(), [](float v) { return std::isfinite(v); })) break;
      if (told) told(++done, total);
    }
  }
  Checkup out;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Suspect suspect;
    suspect.head = ids[i];
    for (double& f : seen[i].features)
      f /= static_cast<double>(std::max<std::int64_t>(1, seen[i].texts));
    if (seen[i].broken) {
      suspect.reason = *seen[i].broken;
      suspect.score = suspect.reason == Reason::kNotFinite   ? 1e9
                      : suspect.reason == Reason::kCollapsed ? 1e3
                                                             : 1e6;
    }
    out.suspects.push_back(suspect);
  }
  judge_features(model, seen, out.suspects);
  std::stable_sort(out.suspects.begin(),
                   out.suspects.end(),
                   [](const Suspect& a, const Suspect& b) { return a.score > b.score; });
  return out;
}

}  // namespace headscope::doctor
