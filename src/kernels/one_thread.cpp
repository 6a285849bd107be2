#include "kernels/one_thread.h"

// oneDNN brings the OpenMP runtime with it, whether or not our own threads use it.
extern "C" int omp_get_max_threads(void);
extern "C" void omp_set_num_threads(int);

namespace headscope::kernels {

OneThread::OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
OneThread::~OneThread() { omp_set_num_threads(before_); }

}  // namespace headscope::kernels
