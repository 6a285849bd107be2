// What a run is judged by.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "doctor/baseline.h"
#include "headscope/threads.h"

namespace headscope::doctor {

namespace {

constexpr std::int64_t kRowsAtOnce = 512;  // of logits

// e^x for x <= 0 to 2 units of the last place of f32, without calls, so that the loop around it becomes vectors.
// e^x = 2^n e^r, |r| <= ln 2 / 2; ln 2 in two parts (Cody & Waite 1980).
inline float exp_of(float x) {
  x = std::max(x, -87.0F);
  const float n = x * 1.44269504F + 12582912.0F;  // rounds to a whole number in the low bits
  std::int32_t bits = 0;
  std::memcpy(&bits, &n, sizeof bits);
  const float whole = n - 12582912.0F;
  const float r = (x - whole * 0.693359375F) + whole * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = (p * r) * r + r + 1.0F;
  const std::int32_t power = (bits - 0x4B400000 + 127) << 23;
  float two = 0.0F;
  std::memcpy(&two, &power, sizeof two);
  return p * two;
}

// -ln p(id). Sums of 256 in f32, of those in double.
double surprise(std::span<const float> logits, std::int32_t id) {
  float largest = logits.front();
  for (const float x : logits) largest = std::max(largest, x);
  double sum = 0.0;
  constexpr std::size_t kBlock = 256;
  constexpr std::size_t kLanes = 16;
  for (std::size_t first = 0; first < logits.size(); first += kBlock) {
    const std::size_t last = std::min(logits.size(), first + kBlock);
    float part[kLanes] = {};
    std::size_t i = first;
    for (; i + kLanes <= last; i += kLanes) {
      for (std::size_t k = 0; k < kLanes; ++k) part[k] += exp_of(logits[i + k] - largest);
    }
    for (; i < last; ++i) part[0] += exp_of(logits[i] - largest);
    for (const float x : part) sum += static_cast<double>(x);
  }
  const auto own = static_cast<double>(logits[static_cast<std::size_t>(id)]);
  return std::log(sum) + static_cast<double>(largest) - own;
}

Run top(const Baseline& base, const Tensor& streams, bool outputs, std::int64_t logits_rows) {
  Resume resume;
  resume.layer = base.layers();
  resume.x = &streams;
  RunOptions options;
  options.outputs = outputs;
  options.logits_rows = logits_rows;
  options.resume = &resume;
  return base.model().run(base.copies(streams.dim(0)), options);
}

Tensor some(const Tensor& streams, std::int64_t first, std::int64_t n) {
  AnyView part = streams.any();
  const std::size_t each = streams.bytes() / static_cast<std::size_t>(streams.dim(0));
  part.data += static_cast<std::size_t>(first) * each;
  part.shape.front() = n;
  return Tensor::copy_of(part);
}

void need_logits(const Baseline& base, std::int64_t rows) {
  if (!base.model().generates()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[doctor] expected a model that foretells the next token, found {}",
                            base.model().family()));
  }
  if (rows < 2) throw Error(ErrorCode::kInput, "[doctor] expected at least two tokens, found one");
}

std::vector<double> losses(const Baseline& base, const Tensor& streams) {
  const std::int64_t T = base.rows();
  need_logits(base, T);
  const auto ids = base.tokens().ids.span<std::int32_t>();
  const std::int64_t each = std::max<std::int64_t>(1, kRowsAtOnce / T);
  std::vector<double> out;
  for (std::int64_t first = 0; first < streams.dim(0); first += each) {
    const std::int64_t n = std::min(each, streams.dim(0) - first);
    const Run run = top(base, some(streams, first, n), true, -1);
    const auto logits = run.logits.view<float, 3>();
    const auto V = static_cast<std::size_t>(logits.shape[2]);
    std::vector<double> found(static_cast<std::size_t>(n * (T - 1)));
    parallel_for(n * (T - 1), [&](std::int64_t i) {
      const std::int64_t row = i % (T - 1);
      found[static_cast<std::size_t>(i)] =
          surprise({&logits(i / (T - 1), row, 0), V}, ids[static_cast<std::size_t>(row) + 1]);
    });
    for (std::int64_t s = 0; s < n; ++s) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < T - 1; ++i)
        sum += found[static_cast<std::size_t>(s * (T - 1) + i)];
      out.push_back(sum / static_cast<double>(T - 1));
    }
  }
  return out;
}

std::vector<double> choices(const Baseline& base, const Judge& by, const Tensor& streams) {
  need_logits(base, 2);
  std::vector<double> out;
  for (std::int64_t first = 0; first < streams.dim(0); first += kRowsAtOnce) {
    const std::int64_t n = std::min(kRowsAtOnce, streams.dim(0) - first);
    const Run run = top(base, some(streams, first, n), true, 1);
    const auto logits = run.logits.view<float, 3>();
    for (const std::int32_t id : {by.right, by.wrong}) {
      if (id < 0 || id >= logits.shape[2])
        throw Error(
            ErrorCode::kRange,
            fmt::format("[doctor] expected a token 0..{}, found {}", logits.shape[2] - 1, id));
    }
    for (std::int64_t s = 0; s < n; ++s)
      out.push_back(static_cast<double>(logits(s, 0, by.right)) -
                    static_cast<double>(logits(s, 0, by.wrong)));
  }
  return out;
}

std::vector<double> likeness(const Baseline& base, const Tensor& streams) {
  const Tensor plain = base.model().embedding(top(base, base.stream(base.layers()), false, 0));
  const Tensor found = base.model().embedding(top(base, streams, false, 0));
  const auto C = static_cast<std::size_t>(found.dim(1));
  std::vector<double> out;
  for (std::size_t s = 0; s * C < found.span<float>().size(); ++s)
    out.push_back(cosine(found.span<float>().subspan(s * C, C), plain.span<float>()));
  return out;
}

}  // namespace

double cosine(std::span<const float> a, std::span<const float> b) {
  double ab = 0.0, aa = 0.0, bb = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]);
    const double y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa == 0.0 || bb == 0.0 ? 0.0 : ab / std::sqrt(aa * bb);
}

std::vector<double> judge(const Baseline& base, const Judge& by, const Tensor& streams) {
  switch (by.kind) {
    case Judge::Kind::kChoice:
      return choices(base, by, streams);
    case Judge::Kind::kEmbedding:
      return likeness(base, streams);
    case Judge::Kind::kLoss:
      break;
  }
  return losses(base, streams);
}

double judge(const Baseline& base, const Judge& by) {
  return judge(base, by, base.stream(base.layers())).front();
}

std::vector<double> sweep_plainly(const Baseline& base,
                                  std::span<const Edit> edits,
                                  const Judge& by,
                                  const Told& told) {
  // A run from the embeddings to the last layer; the judge then looks at the top of it.
  std::vector<double> out;
  Resume whole;
  whole.end = base.layers();
  for (const Edit& edit : edits) {
    RunOptions options;
    options.outputs = false;
    options.edits = {edit};
    options.resume = &whole;
    const Run run = base.model().run(base.copies(1), options);
    out.push_back(judge(base, by, run.last_hidden_state).front());
    if (told) told(static_cast<std::int64_t>(out.size()), static_cast<std::int64_t>(edits.size()));
  }
  return out;
}

}  // namespace headscope::doctor
