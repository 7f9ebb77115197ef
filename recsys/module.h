/* What every compiled module has: Python's stable interface, the end of a call's buffers, and its own definition. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

/* Gives back the buffers of a call, all by their addresses. One that was never filled and is all zeros is passed over. */
#define RELEASE(...)                                                                                   \
    do {                                                                                               \
        Py_buffer *buffers_[] = {__VA_ARGS__};                                                         \
        for (size_t i_ = 0; i_ < sizeof buffers_ / sizeof *buffers_; i_++) PyBuffer_Release(buffers_[i_]); \
    } while (0)

/* The module of this name, with the file's `methods`. */
#define MODULE(name)                                                                                               \
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, #name, NULL, -1, methods, NULL, NULL, NULL, NULL}; \
    PyMODINIT_FUNC PyInit_##name(void) { return PyModule_Create(&module); }
