#pragma once

namespace headscope::kernels {

/// While it lives, oneDNN works with one thread when called from this thread. oneDNN asks OpenMP
/// how many threads there are, when a primitive is made and when it runs; sums cut among threads
/// would make results depend on their number.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace headscope::kernels
